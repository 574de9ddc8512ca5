//! What a session and its shell owe each other.

use super::script::{PLAIN, Script};
use super::settings;
use super::simulation::INFO;
use crate::relay::protocol::InfoRewrite;
use crate::relay::session::{Event, Link, Loss, SessionSettings};

#[test]
fn what_came_before_a_bad_info_is_delivered() {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\n").unwrap();
    let message = "MSG a 1 2\r\nhi\r\n";
    let said = format!("{message}INFO {{junk\r\n");
    assert!(script.server(Link::Current, said).is_err());
    assert_eq!(script.heard(), message);
}

#[test]
fn an_empty_verdict_leaves_nothing_to_do() {
    let mut script = Script::new(settings(), PLAIN);
    script.client("SUB a 1\r\n").unwrap();
    let lost = script
        .session
        .handle_upstream_lost(Link::Current, script.now);
    assert_eq!(lost, Loss::Outage);
    script.told_to(Link::Current);
    script.session.restore(INFO).unwrap();
    script.client("PUB b 1\r\nx\r\n").unwrap();
    assert_eq!(script.told_to(Link::Current), "SUB a 1\r\nPUB b 1\r\nx\r\n");
}

#[test]
fn what_is_told_of_the_next_server_follows_the_switch_to_it() {
    let mut script = Script::new(settings(), PLAIN);
    script.begin(true, false);
    script.next("INFO {\"ldm\":true}\r\n");
    script.go_on();
    let [switched, lame_duck] = &script.events[..] else {
        panic!("{:?}", script.events);
    };
    assert!(matches!(switched, Event::Switched { .. }));
    assert_eq!(lame_duck, &Event::LameDuck);
}

#[test]
fn a_lame_duck_is_news_for_the_shell_and_not_for_a_client_that_it_moves() {
    for (lame_duck, heard) in [(Some(false), r#""ldm":false"#), (None, r#""ldm":true"#)] {
        let info = InfoRewrite {
            lame_duck,
            ..InfoRewrite::default()
        };
        let settings = SessionSettings { info, ..settings() };
        let mut script = Script::new(settings, PLAIN);
        script.client("PING\r\n").unwrap();
        script.current("PONG\r\nINFO {\"server_id\":\"S\",\"ldm\":true}\r\n");
        assert!(script.heard().contains(heard));
        assert_eq!(script.events, [Event::LameDuck]);
    }
}
