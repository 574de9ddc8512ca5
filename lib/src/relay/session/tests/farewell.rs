//! The end of a session in good order.

use std::time::Instant;

use super::settings;
use super::simulation::INFO;
use crate::relay::protocol::ServerInfo;
use crate::relay::session::{ClientOptions, Event, Link, Session, Side};

fn session(verbose: bool) -> Session {
    let options = ClientOptions {
        verbose,
        echo: true,
        headers: true,
        understands_info: true,
    };
    Session::new(settings(), options, &ServerInfo::parse(INFO).unwrap())
}

/// What the server has got after the client said `bytes`, and how much of them was judged.
fn server_heard(session: &mut Session, bytes: &[u8]) -> (String, usize) {
    let (mut heard, mut judged) = (Vec::new(), 0);
    loop {
        let rest = &bytes[judged..];
        let verdict = session.handle_client(rest, Instant::now()).unwrap();
        heard.extend_from_slice(&rest[..verdict.forward]);
        judged += verdict.forward + verdict.skip;
        let own = std::mem::take(session.transmit(Side::Upstream(Link::Current)));
        heard.extend_from_slice(&own);
        if verdict.is_empty() && own.is_empty() {
            return (String::from_utf8(heard).unwrap(), judged);
        }
    }
}

/// What the client has got after the server said `bytes`.
fn client_heard(session: &mut Session, bytes: &[u8]) -> String {
    let (mut heard, mut judged) = (Vec::new(), 0);
    loop {
        let rest = &bytes[judged..];
        let verdict = session
            .handle_upstream(Link::Current, rest, Instant::now())
            .unwrap();
        heard.extend_from_slice(&rest[..verdict.forward]);
        judged += verdict.forward + verdict.skip;
        let own = std::mem::take(session.transmit(Side::Client));
        heard.extend_from_slice(&own);
        if verdict.is_empty() && own.is_empty() {
            return String::from_utf8(heard).unwrap();
        }
    }
}

#[test]
fn the_last_operation_is_finished_and_nothing_follows_it() {
    let mut session = session(false);
    let first = b"SUB a 1\r\nSUB b g 2\r\nPUB c 5\r\nhel";
    let (heard, _) = server_heard(&mut session, first);
    assert_eq!(heard.as_bytes(), first);
    session.begin_farewell();
    let (heard, judged) = server_heard(&mut session, b"lo\r\nPUB d 2\r\nno\r\n");
    assert_eq!(heard, "lo\r\nUNSUB 1\r\nUNSUB 2\r\nPING\r\n");
    assert_eq!(judged, 4, "more than the operation under way");
    let last = b"MSG a 1 2\r\nhi\r\n";
    assert_eq!(client_heard(&mut session, last).as_bytes(), last);
    assert_eq!(session.poll_event(), None);
    assert_eq!(client_heard(&mut session, b"PONG\r\n"), "");
    assert_eq!(session.poll_event(), Some(Event::Drained));
}

#[test]
fn a_verbose_client_gets_no_answer_to_what_it_did_not_say() {
    let mut session = session(true);
    server_heard(&mut session, b"SUB a 1\r\nSUB b 2\r\n");
    session.begin_farewell();
    let (heard, _) = server_heard(&mut session, b"");
    assert_eq!(heard, "UNSUB 1\r\nUNSUB 2\r\nPING\r\n");
    let answers = b"+OK\r\n+OK\r\n+OK\r\n+OK\r\nPONG\r\n";
    assert_eq!(client_heard(&mut session, answers), "+OK\r\n+OK\r\n");
    assert_eq!(session.poll_event(), Some(Event::Drained));
}

#[test]
fn a_verbose_client_gets_its_answers_in_the_order_it_asked() {
    let mut session = session(true);
    server_heard(&mut session, b"SUB a 1\r\nPING\r\nPUB c 0\r\n\r\nPING\r\n");
    session.begin_farewell();
    let (heard, _) = server_heard(&mut session, b"");
    assert_eq!(heard, "UNSUB 1\r\nPING\r\n");
    let answers = b"+OK\r\nPONG\r\n+OK\r\nPONG\r\n+OK\r\nPONG\r\n";
    let heard = client_heard(&mut session, answers);
    assert_eq!(heard, "+OK\r\nPONG\r\n+OK\r\nPONG\r\n");
}

#[test]
fn word_to_leave_waits_for_the_first_answer_and_for_the_end_of_a_message() {
    let mut session = session(false);
    server_heard(&mut session, b"PING\r\n");
    session.tell_to_leave(INFO).unwrap();
    assert_eq!(client_heard(&mut session, b""), "", "before the first PONG");
    let heard = client_heard(&mut session, b"PONG\r\n");
    assert!(heard.starts_with("PONG\r\nINFO {"), "{heard}");
    assert!(heard.contains("\"ldm\":true"), "{heard}");

    assert_eq!(
        client_heard(&mut session, b"MSG a 1 5\r\nhel"),
        "MSG a 1 5\r\nhel"
    );
    session.tell_to_leave(INFO).unwrap();
    assert_eq!(
        client_heard(&mut session, b""),
        "",
        "in the middle of a message"
    );
    let heard = client_heard(&mut session, b"lo\r\n");
    assert!(heard.starts_with("lo\r\nINFO {"), "{heard}");
    // What the server says of itself later does not take it back.
    let heard = client_heard(&mut session, &[b"INFO ", INFO, b"\r\n"].concat());
    assert!(heard.contains("\"ldm\":true"), "{heard}");
}
