//! Subscriptions that a server refused: they are not there, so they must not be made again elsewhere.

use super::script::{PLAIN, Script};
use super::settings;
use crate::relay::session::{Abort, Event, Link};

/// As `testdata/relay/make.py` recorded it from a real server: every way to be refused a subscription, and to lose one.
#[test]
fn what_a_real_server_refused_is_not_made_again() {
    let said = include_bytes!("../../../../../testdata/relay/client_parser/refusals");
    let heard = include_bytes!("../../../../../testdata/relay/server_parser/refusals");
    let behind_the_line = |bytes: &'static [u8]| {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        &bytes[end + 1..]
    };
    let mut script = Script::new(settings(), PLAIN);
    script.client(behind_the_line(said)).unwrap();
    script.current(behind_the_line(heard));
    assert_eq!(script.heard().matches("-ERR").count(), 9);
    script.begin(true, false);
    let moved = script.finish();
    assert_eq!(script.switches(), 1);
    assert!(
        moved.starts_with("SUB kept 6\r\nSUB last 12\r\nPING"),
        "{moved}"
    );
}

/// What the next connection subscribes after the current one said `refusal` to the last of the client's lines.
fn moved_after(lines: &[&str], refusal: &str) -> String {
    let mut script = Script::new(settings(), PLAIN);
    script
        .client(format!("{}\r\n", lines.join("\r\n")))
        .unwrap();
    script.current(format!("-ERR '{refusal}'\r\n"));
    assert_eq!(script.heard(), format!("-ERR '{refusal}'\r\n"));
    script.begin(true, false);
    let moved = script.finish();
    assert_eq!(script.switches(), 1, "{refusal}: {:?}", script.events);
    moved
        .split("\r\n")
        .filter(|line| line.starts_with("SUB"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn what_the_server_refused_by_name_is_not_made_again() {
    let one = ["SUB good 1", "SUB bad.one 2"];
    for refusal in [
        r#"Permissions Violation for Subscription to "bad.one""#,
        r#"Permissions Violation for Subscription to "bad.one" (sid "2")"#,
        r#"Permissions Violation for Subscription to "bad.one", too many tokens"#,
    ] {
        assert_eq!(moved_after(&one, refusal), "SUB good 1", "{refusal}");
    }
    let queue = ["SUB bad 1", "SUB bad q 2"];
    for refusal in [
        r#"Permissions Violation for Subscription to "bad" using queue "q""#,
        r#"Permissions Violation for Subscription to "bad" using queue "q" (sid "2")"#,
    ] {
        assert_eq!(moved_after(&queue, refusal), "SUB bad 1", "{refusal}");
    }
    // Go quotes other than JSON does.
    let odd = ["SUB good 1", "SUB a\u{1}\u{7}\"é 2"];
    let refusal = r#"Permissions Violation for Subscription to "a\x01\a\"é""#;
    assert_eq!(moved_after(&odd, refusal), "SUB good 1");
}

#[test]
fn a_withdrawal_means_the_one_it_names() {
    let two = ["SUB a 1", "SUB a 2"];
    let withdrawal = r#"Permissions Violation for Subscription to "a" (sid "1")"#;
    assert_eq!(moved_after(&two, withdrawal), "SUB a 2");
}

#[test]
fn a_refusal_does_not_mean_what_was_confirmed_before() {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a.b 1\r\nPING\r\n").unwrap();
    script.current("PONG\r\n");
    script.client("SUB a.b 2\r\n").unwrap();
    script.current("-ERR 'Permissions Violation for Subscription to \"a.b\", too many tokens'\r\n");
    script.begin(true, false);
    assert!(script.finish().starts_with("SUB a.b 1\r\nPING"));
}

#[test]
fn what_is_no_subject_is_not_made_again() {
    for subject in ["a..b", ".a", "a.", ">.a", "a.>.b"] {
        let line = format!("SUB {subject} 2");
        let moved = moved_after(&["SUB good 1", &line], "Invalid Subject");
        assert_eq!(moved, "SUB good 1", "{subject}");
    }
    let mut script = Script::new(settings(), PLAIN);
    script
        .client("SUB a.> 1\r\nSUB *.a* 2\r\nSUB a>.b 3\r\n")
        .unwrap();
    script.begin(true, false);
    let moved = script.finish();
    assert!(moved.starts_with("SUB a.> 1\r\nSUB *.a* 2\r\nSUB a>.b 3\r\n"));
}

const TOO_MANY: &str = "-ERR 'maximum subscriptions exceeded'\r\n";

#[test]
fn one_too_many_is_the_last_one() {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\nPING\r\n").unwrap();
    script.current("PONG\r\n");
    script
        .client("SUB b 2\r\nSUB c 3\r\nSUB d 4\r\nPING\r\nSUB e 5\r\nUNSUB 5\r\nSUB f 6\r\n")
        .unwrap();
    script.current(TOO_MANY.repeat(2));
    script.current("PONG\r\n");
    assert_eq!(script.heard().matches("-ERR").count(), 2);
    script.begin(true, false);
    let moved = script.finish();
    assert_eq!(script.switches(), 1);
    assert!(
        moved.starts_with("SUB a 1\r\nSUB b 2\r\nSUB f 6\r\nPING"),
        "{moved}"
    );
}

#[test]
fn where_it_is_unclear_which_was_one_too_many_the_client_stays() {
    let mut script = Script::new(settings(), PLAIN);
    script
        .client("SUB a 1\r\nUNSUB 1\r\nSUB b 2\r\nSUB c 3\r\nPING\r\n")
        .unwrap();
    script.current(TOO_MANY);
    script.current("PONG\r\n");
    script.begin(true, false);
    script.answer(Link::Current);
    assert_eq!(script.answer(Link::Next), "SUB b 2\r\nSUB c 3\r\n");
    script.next(TOO_MANY);
    script.finish();
    let text = "maximum subscriptions exceeded".into();
    assert_eq!(script.events, [Event::GivenUp(Abort::Refused { text })]);
}

#[test]
fn a_forced_move_leaves_what_the_next_server_has_no_room_for() {
    let mut script = Script::new(settings(), PLAIN);
    script
        .client("SUB a 1\r\nUNSUB 1\r\nSUB b 2\r\nSUB c 3\r\nSUB d q 4\r\nPING\r\n")
        .unwrap();
    script.current(TOO_MANY);
    script.current("PONG\r\n");
    script.heard();
    script.begin(true, true);
    script.answer(Link::Current);
    let told = script.told_to(Link::Next);
    assert_eq!(told, "SUB b 2\r\nSUB c 3\r\nPING\r\n");
    script.next(TOO_MANY.to_owned() + "PONG\r\n");
    script.finish();
    assert_eq!(script.switches(), 1, "{:?}", script.events);
    let heard = script.heard();
    assert!(heard.starts_with(TOO_MANY), "{heard}");
    assert_eq!(heard.matches("-ERR").count(), 1, "{heard}");
    script.begin(true, false);
    let moved = script.finish();
    assert!(moved.starts_with("SUB b 2\r\nPING"), "{moved}");
    assert!(moved.contains("SUB d q 4\r\n"), "{moved}");
    assert!(!moved.contains("SUB c"), "{moved}");
}

/// The next connection refuses one of two, and the client has to move.
fn forced() -> Script {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\nSUB b 2\r\n").unwrap();
    script.begin(true, true);
    script.answer(Link::Current);
    script.next("-ERR 'Permissions Violation for Subscription to \"b\"'\r\n");
    script
}

#[test]
fn what_the_next_connection_refuses_is_left_on_the_current_one() {
    let mut script = forced();
    script.answer(Link::Next);
    script.answer(Link::Current);
    script.answer(Link::Next);
    // Until the cut the client has it.
    script.current("MSG b 2 1\r\nx\r\n");
    assert_eq!(script.heard(), "MSG b 2 1\r\nx\r\n");
    let left = script.told_to(Link::Current);
    assert_eq!(left, "PING\r\nUNSUB 1\r\nUNSUB 2\r\nPING\r\n");
    script.current("MSG b 2 1\r\ny\r\nPONG\r\nPONG\r\n");
    script.finish();
    assert_eq!(script.switches(), 1);
    assert_eq!(
        script.heard(),
        "MSG b 2 1\r\ny\r\n-ERR 'Permissions Violation for Subscription to \"b\"'\r\n"
    );
    // It is gone: the next handover does not ask for it.
    script.begin(true, false);
    assert!(script.finish().starts_with("SUB a 1\r\nPING"));
}

#[test]
fn a_move_that_fails_after_a_refusal_changes_nothing() {
    let mut script = forced();
    script.session.handle_upstream_lost(Link::Next, script.now);
    script.settle();
    assert_eq!(script.events, [Event::GivenUp(Abort::NextLost)]);
    script.current("MSG b 2 1\r\nx\r\n");
    assert_eq!(script.heard(), "MSG b 2 1\r\nx\r\n");
    script.told_to(Link::Next);
    script.begin(true, false);
    script.answer(Link::Current);
    assert!(script.answer(Link::Next).contains("SUB b 2\r\n"));
}

#[test]
fn what_is_withdrawn_during_a_handover_is_left_on_the_next_connection() {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\nSUB b 2\r\n").unwrap();
    script.begin(true, false);
    script.answer(Link::Current);
    script.told_to(Link::Next);
    script.current("-ERR 'Permissions Violation for Subscription to \"b\" (sid \"2\")'\r\n");
    assert_eq!(script.told_to(Link::Next), "UNSUB 2\r\n");
}

#[test]
fn a_second_refusal_does_not_cut_off_what_a_group_still_gets() {
    let mut script = Script::new(settings(), PLAIN);
    script
        .client("SUB a q 1\r\nSUB b q 2\r\nSUB c q 3\r\n")
        .unwrap();
    script.begin(true, false);
    while !script.told_to(Link::Next).contains("SUB c q 3") {
        script.current("PONG\r\n");
        script.next("PONG\r\n");
    }
    let refusal = |subject| {
        format!(
            "-ERR 'Permissions Violation for Subscription to \"{subject}\" using queue \"q\"'\r\n"
        )
    };
    let message = "MSG c 3 1\r\nx\r\n";
    script.next(refusal("a") + &refusal("b") + message);
    assert_eq!(script.heard(), message);
    script.next("PONG\r\nPONG\r\n");
    assert_eq!(script.events.len(), 1, "{:?}", script.events);
}
