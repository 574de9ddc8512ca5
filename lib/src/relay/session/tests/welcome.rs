//! The first words: what nats-server never says before its first PONG, a relay does not either.

use std::time::Instant;

use super::settings;
use super::simulation::INFO;
use crate::relay::protocol::ServerInfo;
use crate::relay::session::{ClientOptions, Link, Session, Side};

const OPTIONS: ClientOptions = ClientOptions {
    verbose: false,
    echo: true,
    headers: true,
    understands_info: true,
};

/// What the client has got after the server said `bytes`.
fn heard(session: &mut Session, mut bytes: &[u8]) -> String {
    let mut heard = Vec::new();
    loop {
        let verdict = session
            .handle_upstream(Link::Current, bytes, Instant::now())
            .unwrap();
        heard.extend_from_slice(&bytes[..verdict.forward]);
        bytes = &bytes[verdict.forward + verdict.skip..];
        let own = std::mem::take(session.transmit(Side::Client));
        if verdict.is_empty() && own.is_empty() {
            return String::from_utf8(heard).unwrap();
        }
        heard.extend_from_slice(&own);
    }
}

#[test]
fn a_second_info_waits_for_the_answer_to_the_first_ping() {
    let info = ServerInfo::parse(INFO).unwrap();
    let mut session = Session::new(settings(), OPTIONS, &info);
    let second = [b"INFO ", INFO, b"\r\n"].concat();
    assert_eq!(heard(&mut session, &second), "", "before a PING");
    let ping = b"PING\r\n";
    let verdict = session.handle_client(ping, Instant::now()).unwrap();
    assert_eq!(verdict.forward, ping.len());
    assert_eq!(heard(&mut session, &second), "", "before its PONG");
    let first = heard(&mut session, b"PONG\r\nPING\r\n");
    let [pong, told, rest] = first.split_inclusive('\n').collect::<Vec<_>>()[..] else {
        panic!("{first}");
    };
    assert!(pong == "PONG\r\n" && told.starts_with("INFO {"), "{first}");
    assert_eq!(rest, "PING\r\n", "it is told once");
    assert!(
        heard(&mut session, &second).starts_with("INFO {"),
        "at once"
    );
}
