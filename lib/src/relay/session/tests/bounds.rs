//! What a client, or a server, can make a session keep.

use super::script::{PLAIN, Script};
use super::settings;
use super::simulation::INFO;
use crate::relay::session::{Link, Loss};

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
