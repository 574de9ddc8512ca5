//! Subscriptions that the client makes while it is being handed over.

use super::script::{PLAIN, Script};
use super::settings;
use crate::relay::session::{Event, Link};

/// The moment in which a late subscription has just been made on the next connection.
fn late(is_same_server: bool) -> Script {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\n").unwrap();
    script.begin(is_same_server, false);
    script.client("SUB b 2\r\n").unwrap();
    while script.session.poll_timeout().is_some() {
        script.answer(Link::Current);
        let told = script.told_to(Link::Next);
        if told.contains("SUB b 2\r\n") {
            assert!(told.ends_with("PING\r\n"));
            return script;
        }
        script.next("PONG\r\n".repeat(told.matches("PING\r\n").count()));
        if told.is_empty() && script.told_to(Link::Current).is_empty() {
            script.now = script.session.poll_timeout().unwrap();
            script.session.handle_timeout(script.now);
            script.settle();
        }
    }
    panic!("it never moved: {:?}", script.events);
}

const MESSAGE: &str = "MSG b 2 4\r\nsame\r\n";

#[test]
fn what_was_routed_before_a_late_subscription_is_not_waited_for() {
    for is_same_server in [true, false] {
        let mut script = late(is_same_server);
        // In the backlog of the current connection since before the SUB.
        script.current(MESSAGE);
        script.next("PONG\r\n");
        script.finish();
        assert_eq!(script.heard(), MESSAGE);
        assert_eq!(script.switches(), 1);
        assert_eq!(
            script.events.last(),
            Some(&Event::Finished { unmatched: 0 }),
            "{is_same_server}"
        );
    }
}

#[test]
fn what_is_published_after_the_change_is_not_taken_for_it() {
    for is_same_server in [true, false] {
        let mut script = late(is_same_server);
        script.current(MESSAGE);
        script.next("PONG\r\n");
        while script.switches() == 0 {
            script.go_on();
            if script.switches() == 0 {
                script.now = script.session.poll_timeout().unwrap();
                script.session.handle_timeout(script.now);
                script.settle();
            }
        }
        assert_eq!(script.heard(), MESSAGE);
        script.current(MESSAGE);
        assert_eq!(script.heard(), MESSAGE, "{is_same_server}");
    }
}

#[test]
fn a_client_is_held_only_for_what_comes_late_again() {
    let mut script = late(true);
    assert!(script.session.wants_client());
    script.client("SUB c 3\r\n").unwrap();
    script.next("PONG\r\n");
    let mut told = String::new();
    while !told.contains("SUB c 3\r\n") {
        script.answer(Link::Current);
        told = script.answer(Link::Next);
    }
    assert!(!script.session.wants_client());
    script.finish();
    assert_eq!(script.switches(), 1);
}

#[test]
fn late_messages_that_both_deliver_come_once() {
    let mut script = late(true);
    script.next(format!("PONG\r\n{MESSAGE}"));
    script.current(MESSAGE);
    script.finish();
    assert_eq!(script.heard(), MESSAGE);
    assert_eq!(
        script.events.last(),
        Some(&Event::Finished { unmatched: 0 })
    );
}
