//! The parsers of the relay, and what must hold for any bytes; see the sources it takes in.

#[allow(
    dead_code,
    unused_imports,
    reason = "the library uses what is not used here"
)]
#[path = "../../src/relay/protocol/mod.rs"]
mod protocol;

macro_rules! targets {
    ($($name:ident)*) => {
        $(pub fn $name(bytes: &[u8]) {
            protocol::fuzzing::$name(bytes);
        })*
    };
}

targets! { client server info connect }
