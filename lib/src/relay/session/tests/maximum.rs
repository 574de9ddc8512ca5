//! Subscriptions with a maximum, whose servers have not counted from the start.

use super::script::{PLAIN, Script};
use super::settings;
use super::simulation::INFO;
use crate::relay::session::{Link, Loss};

/// The client has had twelve messages of a former server, and two of this one.
fn moved() -> Script {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a q 1\r\n").unwrap();
    script.current("MSG a 1 1\r\nx\r\n".repeat(12));
    script.begin(true, false);
    script.finish();
    assert_eq!(script.switches(), 1);
    two_more(script)
}

/// The same after an outage.
fn restored() -> Script {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a q 1\r\n").unwrap();
    script.current("MSG a 1 1\r\nx\r\n".repeat(12));
    let now = script.now;
    let loss = script.session.handle_upstream_lost(Link::Current, now);
    assert_eq!(loss, Loss::Outage);
    script.session.restore(INFO).unwrap();
    script.settle();
    two_more(script)
}

fn two_more(mut script: Script) -> Script {
    script.current("MSG a 1 1\r\nx\r\n".repeat(2));
    script.heard();
    script.told_to(Link::Current);
    script
}

#[test]
fn what_the_client_has_had_already_ends_it_at_any_server() {
    for max in [1, 10, 14] {
        for mut script in [moved(), restored()] {
            script.client(format!("UNSUB 1 {max}\r\n")).unwrap();
            let told = script.told_to(Link::Current);
            // A server that has sent as many itself ends it at once, too.
            let ends = told == "UNSUB 1\r\n" || (told == "UNSUB 1 1\r\n" && max == 1);
            assert!(ends, "{max}: {told}");
        }
    }
}

#[test]
fn a_server_counts_what_is_left() {
    for mut script in [moved(), restored()] {
        script.client("UNSUB 1 20\r\n").unwrap();
        assert_eq!(script.told_to(Link::Current), "UNSUB 1 8\r\n");
        script.current("MSG a 1 1\r\nx\r\n".repeat(6));
        assert_eq!(script.heard().matches("MSG").count(), 6);
        // Its server has ended it by itself.
        assert_eq!(script.told_to(Link::Current), "");
        assert_eq!(script.session.interest.remembered(), 0);
        assert_eq!(script.session.interest.remembered(), 0);
    }
}

#[test]
fn a_handover_that_is_given_up_leaves_nothing_behind() {
    let mut script = Script::new(settings(), PLAIN);
    script
        .client("SUB a 1\r\nUNSUB 1 1\r\nSUB b 2\r\n")
        .unwrap();
    script.begin(true, false);
    script.answer(Link::Current);
    assert!(script.told_to(Link::Next).contains("SUB a 1\r\n"));
    script.current("MSG a 1 1\r\nx\r\n");
    script.session.handle_upstream_lost(Link::Next, script.now);
    script.settle();
    assert_eq!(script.session.interest.remembered(), 1, "the other one");
}
