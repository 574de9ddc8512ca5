//! Failures at every step of a handover: the client stays where it was, or is told.

use super::script::{PLAIN, WITHOUT_ECHO};
use super::simulation::World;
use crate::relay::session::{Abort, ClientOptions, Event, Link, Loss};

const VERBOSE: ClientOptions = ClientOptions {
    verbose: true,
    ..PLAIN
};

/// A client under traffic, with a handover that has come as far as `steps`.
fn under_way(seed: u64, steps: usize, options: ClientOptions) -> World {
    let mut world = World::new(seed, options);
    for (sid, subject, queue) in [("1", "a", None), ("2", "own", None), ("3", "q", Some("g"))] {
        world.subscribe(sid, subject, queue);
    }
    world.drain();
    world.begin_handover(false);
    traffic(&mut world, steps);
    world
}

fn traffic(world: &mut World, steps: usize) {
    for _ in 0..steps {
        match world.rng.u32(0..10) {
            0 => world.publish_elsewhere("a"),
            1 => world.publish_elsewhere("q"),
            2 => world.publish(),
            _ => {
                world.step();
            }
        }
    }
}

fn has_switched(world: &World) -> bool {
    let mut events = world.events.iter();
    events.any(|event| matches!(event, Event::Switched { .. }))
}

fn is_told_to_close(world: &World) -> bool {
    let mut events = world.events.iter();
    events.any(|event| matches!(event, Event::CloseClient(_)))
}

/// A seed and how far the handover came, for each.
fn everywhere() -> impl Iterator<Item = (u64, usize)> {
    (0..150).map(|seed| (seed, usize::try_from(seed).unwrap()))
}

#[test]
fn the_next_connection_may_break_at_any_step() {
    for options in [PLAIN, VERBOSE, WITHOUT_ECHO] {
        next_breaks(options);
    }
}

fn next_breaks(options: ClientOptions) {
    let (mut kept, mut closed) = (0, 0);
    for (seed, steps) in everywhere() {
        let mut world = under_way(seed, steps, options);
        if has_switched(&world) {
            continue;
        }
        world.break_next();
        if is_told_to_close(&world) {
            closed += 1;
            continue;
        }
        kept += 1;
        traffic(&mut world, 50);
        world.drain();
        assert!(
            matches!(world.events.first(), Some(Event::GivenUp(Abort::NextLost))),
            "seed {seed}: {:?}",
            world.events
        );
        // And the next try succeeds.
        world.begin_handover(false);
        traffic(&mut world, 50);
        world.drain();
        assert!(has_switched(&world), "seed {seed}");
        world.assert_own_and_plain_exact(seed);
    }
    assert!(kept > 50 && closed > 0, "kept {kept}, closed {closed}");
}

#[test]
fn a_next_connection_that_stays_silent_is_given_up_in_time() {
    for seed in 0..20 {
        let mut world = under_way(seed, 0, PLAIN);
        world.mute_next();
        traffic(&mut world, 100);
        world.drain();
        assert!(
            matches!(world.events.as_slice(), [Event::GivenUp(Abort::Timeout)]),
            "seed {seed}: {:?}",
            world.events
        );
        world.assert_exact(seed);
    }
}

#[test]
fn a_denied_subscription_keeps_the_client_where_it_was() {
    for seed in 0..40 {
        let mut world = World::new(seed, PLAIN);
        world.subscribe("1", "a", None);
        world.subscribe("2", "b", None);
        world.drain();
        world.denied_on_next = Some("b".into());
        world.begin_handover(false);
        traffic(&mut world, 100);
        world.drain();
        let denied = Abort::SubscriptionDenied {
            subject: "b".into(),
        };
        assert_eq!(world.events, [Event::GivenUp(denied)], "seed {seed}");
        world.publish_elsewhere("b");
        world.drain();
        world.assert_exact(seed);
        assert!(world.ledger.errors.is_empty());
    }
}

#[test]
fn a_forced_move_passes_the_denial_on() {
    let mut world = World::new(7, PLAIN);
    world.subscribe("1", "a", None);
    world.subscribe("2", "b", None);
    world.drain();
    world.denied_on_next = Some("b".into());
    world.begin_handover(true);
    world.drain();
    assert!(has_switched(&world));
    assert_eq!(
        world.ledger.errors,
        ["Permissions Violation for Subscription to \"b\""]
    );
    world.publish_elsewhere("a");
    world.drain();
    assert_eq!(world.ledger.received["1"], [("a".to_owned(), 0)]);
}

#[test]
fn no_info_comes_before_the_first_answer() {
    let mut world = World::new(1, PLAIN);
    world.subscribe("1", "a", None);
    world.drain();
    world.begin_handover(false);
    world.drain();
    assert!(has_switched(&world));
    assert_eq!(world.ledger.infos, 0, "it would be taken for the answer");
    world.ping();
    world.drain();
    assert_eq!((world.ledger.pongs, world.ledger.infos), (1, 1));
}

#[test]
fn the_current_connection_may_break_at_any_step() {
    for options in [PLAIN, WITHOUT_ECHO] {
        current_breaks(options);
    }
}

fn current_breaks(options: ClientOptions) {
    let (mut restored, mut closed) = (0, 0);
    for (seed, steps) in everywhere() {
        let mut world = under_way(seed, steps, options);
        world.ping();
        world.break_current();
        if world.lost == Some(Loss::Fatal) {
            closed += 1;
            continue;
        }
        restored += 1;
        world.drain();
        // Everything subscribed is served again, and each PING got its PONG.
        let before = world.ledger.received.get("1").map_or(0, Vec::len);
        world.publish_elsewhere("a");
        world.publish_elsewhere("q");
        world.drain();
        assert_eq!(world.ledger.received["1"].len(), before + 1, "seed {seed}");
        assert_eq!(world.ledger.pongs, world.ledger.pings, "seed {seed}");
        world.assert_nothing_repeated(seed);
    }
    assert!(
        restored > 50 && closed > 0,
        "restored {restored}, closed {closed}"
    );
}

/// What acknowledgements are still to come for nobody can say.
#[test]
fn a_verbose_client_ends_with_its_connection() {
    for (seed, steps) in everywhere() {
        let mut world = under_way(seed, steps, VERBOSE);
        world.break_current();
        assert_eq!(world.lost, Some(Loss::Fatal), "seed {seed}");
    }
}

#[test]
fn a_current_connection_that_stays_silent_is_kept() {
    for options in [PLAIN, VERBOSE, WITHOUT_ECHO] {
        let (mut kept, mut closed) = (0, 0);
        for (seed, steps) in everywhere() {
            let mut world = under_way(seed, steps, options);
            if has_switched(&world) {
                continue;
            }
            world.mute_current(true);
            traffic(&mut world, 20);
            world.drain();
            if is_told_to_close(&world) {
                closed += 1;
                continue;
            }
            kept += 1;
            world.mute_current(false);
            world.drain();
            assert_eq!(
                world.events,
                [Event::GivenUp(Abort::Timeout)],
                "seed {seed}"
            );
            world.assert_exact(seed);
        }
        assert!(kept > 20 && closed > 0, "kept {kept}, closed {closed}");
    }
}

#[test]
fn whatever_the_next_server_says_against_it_the_client_stays_or_is_told() {
    for options in [PLAIN, VERBOSE, WITHOUT_ECHO] {
        let (mut kept, mut closed) = (0, 0);
        for (seed, steps) in everywhere() {
            let mut world = under_way(seed, steps, options);
            world.server_says(Link::Next, "-ERR 'Whatever'\r\n");
            traffic(&mut world, 50);
            world.drain();
            if is_told_to_close(&world) {
                closed += 1;
                continue;
            }
            if has_switched(&world) {
                // It was said behind the switch: for the client.
                continue;
            }
            kept += 1;
            let text = "Whatever".into();
            assert_eq!(
                world.events,
                [Event::GivenUp(Abort::Refused { text })],
                "seed {seed}"
            );
            world.assert_exact(seed);
            assert!(world.ledger.errors.is_empty());
        }
        assert!(kept > 20 && closed > 0, "kept {kept}, closed {closed}");
    }
}
