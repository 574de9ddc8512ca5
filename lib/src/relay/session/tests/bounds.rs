//! What a client, or a server, can make a session keep.

use super::script::{PLAIN, Script};
use super::settings;
use super::simulation::INFO;
use crate::relay::session::{InterestLimits, Link, Loss, SessionSettings};

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
