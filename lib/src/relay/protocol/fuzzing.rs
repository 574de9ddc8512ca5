//! What must hold for any bytes: each function panics if it does not. Called by the fuzz targets in
//! `lib/fuzz`, and by tests.

#[cfg(test)]
pub(super) mod corpus;
mod hearing;
mod json;

pub(crate) use json::{connect, info};

#[cfg(not(test))]
use hearing::hear;
#[cfg(test)]
pub(super) use hearing::{Heard, hear};

use super::{ClientParser, ParseLimits, ServerParser};

/// Small enough for a fuzzer to get past them.
const TIGHT: ParseLimits = ParseLimits {
    control_line: 24,
    max_payload: 9,
};

/// What a client sends is the same operations in any pieces, and goes on as it came.
pub(crate) fn client(bytes: &[u8]) {
    for limits in [ParseLimits::client(), TIGHT] {
        same_in_any_pieces(bytes, || ClientParser::new(limits));
    }
}

/// What a server sends is the same operations in any pieces, and goes on as it came.
pub(crate) fn server(bytes: &[u8]) {
    for limits in [ParseLimits::server(), TIGHT] {
        same_in_any_pieces(bytes, || ServerParser::new(limits));
    }
}

fn same_in_any_pieces<P: hearing::Parser>(bytes: &[u8], parser: impl Fn() -> P) {
    let whole = hear(parser(), bytes, [bytes.len()]);
    let one_by_one = hear(parser(), bytes, std::iter::repeat(1));
    assert_eq!(whole, one_by_one);
    // Some other pieces, the same for the same bytes.
    let mut seed = bytes.len() as u64;
    let pieces = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 59) as usize
    });
    assert_eq!(whole, hear(parser(), bytes, pieces));
}
