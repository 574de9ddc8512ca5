//! What a client, or a server, can make a session keep.

use super::script::{PLAIN, Script};
use super::settings;
use super::simulation::INFO;
use crate::relay::session::{Abort, Event, InterestLimits, Link, Loss, SessionSettings};

#[test]
fn a_flood_of_pings_is_read_as_fast_as_it_is_answered() {
    let mut script = Script::new(settings(), PLAIN);
    let flood = 20_000;
    script.client("PING\r\n".repeat(flood)).unwrap();
    assert!(!script.session.wants_client());
    let mut answered = 0;
    while answered < flood {
        let pings = script.told_to(Link::Current).matches("PING\r\n").count();
        assert!((1..=8192).contains(&pings), "{pings}");
        script.current("PONG\r\n".repeat(pings));
        answered += pings;
        assert_eq!(script.heard().matches("PONG").count(), pings);
        script.client("").unwrap();
    }
    assert!(script.session.wants_client());
    // And a lost server's successor is not flooded for it.
    script.client("PING\r\n".repeat(flood)).unwrap();
    let lost = script
        .session
        .handle_upstream_lost(Link::Current, script.now);
    assert_eq!(lost, Loss::Outage);
    script.told_to(Link::Current);
    script.session.restore(INFO).unwrap();
    script.settle();
    assert!(script.told_to(Link::Current).len() <= 8192 * 6);
}

fn with_ten_subscriptions() -> Script {
    let settings = SessionSettings {
        interest: InterestLimits {
            subscriptions: 10,
            bytes: 10 * 5,
        },
        ..settings()
    };
    let mut script = Script::new(settings, PLAIN);
    for sid in 10..20 {
        script.client(format!("SUB abc {sid}\r\n")).unwrap();
    }
    script
}

#[test]
fn who_comes_and_goes_in_a_long_handover_stays_within_the_limits() {
    let mut script = with_ten_subscriptions();
    script.client("UNSUB 19\r\n").unwrap();
    script.begin(true, false);
    script.answer(Link::Current);
    // The next connection has the other nine, and is slow.
    for sid in 20..99 {
        let line = format!("SUB abc {sid}\r\nUNSUB {sid}\r\n");
        script.client(line).unwrap();
    }
    for sid in 10..19 {
        let line = format!("UNSUB {sid}\r\nSUB abc {}\r\n", sid + 80);
        script.client(line).unwrap();
    }
    script.client("SUB abc 89\r\n").unwrap();
    assert!(script.client("SUB abc 88\r\n").is_err(), "an eleventh");
}

/// Frames of 100,000 bytes, where a thousand is allowed.
fn narrow(is_forced: bool) -> Script {
    let settings = SessionSettings {
        pending_bytes: 1000,
        ..settings()
    };
    let info = br#"{"server_id":"S","max_payload":1000}"#;
    let mut script = Script::told(info, settings, PLAIN);
    script.client("SUB a 1\r\nSUB b 2\r\n").unwrap();
    script.begin(true, is_forced);
    script.answer(Link::Current);
    script.answer(Link::Next);
    script
}

fn large(letter: &str) -> String {
    format!("MSG a 1 100000\r\n{}\r\n", letter.repeat(100_000))
}

#[test]
fn a_copy_may_be_larger_than_what_is_kept() {
    let mut script = narrow(false);
    script.current(large("x"));
    script.next(large("x"));
    script.finish();
    assert_eq!(script.heard(), large("x"));
    assert_eq!(script.switches(), 1);
    assert_eq!(
        script.events.last(),
        Some(&Event::Finished { unmatched: 0 })
    );
}

#[test]
fn more_than_may_be_kept_ends_a_handover() {
    let mut script = narrow(false);
    script.next(large("x"));
    script.finish();
    assert_eq!(script.events, [Event::GivenUp(Abort::TooLarge)]);
    // The connection in use delivers it.
    script.current(large("x"));
    assert_eq!(script.heard(), large("x"));
}

/// Comes as far as the change, with a copy still owed.
fn in_the_tail() -> Script {
    let mut script = narrow(false);
    script.answer(Link::Current);
    script.answer(Link::Next);
    // Behind the cut, and behind every fence.
    script.current(large("x"));
    script.go_on();
    assert_eq!(script.switches(), 1, "{:?}", script.events);
    assert_eq!(script.heard(), large("x"));
    script
}

#[test]
fn behind_the_change_a_late_copy_may_be_large() {
    let mut script = in_the_tail();
    script.current(large("x"));
    assert_eq!(script.heard(), "");
    // With nothing owed everything passes.
    script.current(large("y"));
    assert_eq!(script.heard(), large("y"));
    script.finish();
    assert_eq!(
        script.events.last(),
        Some(&Event::Finished { unmatched: 0 })
    );
}

#[test]
fn behind_the_change_what_cannot_be_kept_ends_the_client() {
    let mut script = in_the_tail();
    script.current(large("y"));
    assert_eq!(
        script.events.last(),
        Some(&Event::CloseClient(Abort::TooLarge))
    );
}

#[test]
fn behind_the_cut_a_backlog_is_read_as_fast_as_its_copies_come() {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\n").unwrap();
    script.begin(true, false);
    script.answer(Link::Current);
    script.answer(Link::Next);
    script.answer(Link::Current);
    script.answer(Link::Next);
    let left = script.told_to(Link::Current);
    assert_eq!(left, "PING\r\nUNSUB 1\r\nPING\r\n");
    let frames: String = (0..300_000)
        .map(|number| format!("MSG a 1 6\r\n{number:06}\r\n"))
        .collect();
    // In pieces, as a shell reads.
    for piece in frames.as_bytes().chunks(64 * 1024) {
        script.current(piece);
    }
    let first = script.heard().len();
    assert!(first < frames.len() * 3 / 4, "{first}");
    script.now += settings().timing.step / 2;
    script.session.handle_timeout(script.now);
    script.settle();
    assert_eq!(script.events, []);
    for piece in frames.as_bytes().chunks(64 * 1024) {
        script.next(piece);
        script.current("");
    }
    assert_eq!(first + script.heard().len(), frames.len());
    script.current("PONG\r\nPONG\r\n");
    script.next("PONG\r\n");
    assert_eq!(script.switches(), 1);
    assert_eq!(script.heard(), "");
}

/// As far as the replay: both connections deliver.
fn both_deliver() -> Script {
    let settings = SessionSettings {
        pending_bytes: 1000,
        ..settings()
    };
    let mut script = Script::new(settings, PLAIN);
    script.client("SUB a 1\r\n").unwrap();
    script.begin(true, false);
    script.answer(Link::Current);
    script.answer(Link::Next);
    script
}

fn numbered(numbers: std::ops::Range<usize>) -> String {
    numbers
        .map(|number| format!("MSG a 1 6\r\n{number:06}\r\n"))
        .collect()
}

#[test]
fn a_next_connection_that_runs_ahead_waits() {
    let mut script = both_deliver();
    script.next(numbered(0..1000));
    assert!(!script.session.wants_next());
    assert_eq!(script.heard(), "");
    // As the current connection comes after, there is room again.
    script.current(numbered(0..500));
    script.next("");
    script.current(numbered(500..1000));
    script.next("");
    assert!(script.session.wants_next());
    assert_eq!(script.heard(), numbered(0..1000));
    script.finish();
    assert_eq!(script.switches(), 1);
    let finished = Event::Finished { unmatched: 0 };
    assert_eq!(script.events.last(), Some(&finished));
}

#[test]
fn a_next_connection_that_falls_behind_is_given_up() {
    let mut script = both_deliver();
    for piece in numbered(0..200_001).as_bytes().chunks(64 * 1024) {
        script.current(piece);
    }
    script.session.handle_timeout(script.now);
    script.settle();
    script.finish();
    assert_eq!(script.events, [Event::GivenUp(Abort::TooSlow)]);
    assert_eq!(script.heard(), numbered(0..200_001));
}

#[test]
fn it_is_given_up_before_the_cut_also_when_no_time_passes() {
    let mut script = both_deliver();
    script.answer(Link::Current);
    for piece in numbered(0..200_001).as_bytes().chunks(64 * 1024) {
        script.current(piece);
    }
    // The last fence before the cut.
    script.next("PONG\r\n");
    script.finish();
    assert_eq!(script.events, [Event::GivenUp(Abort::TooSlow)]);
}
