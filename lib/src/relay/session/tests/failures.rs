//! Failures at every step of a handover: the client stays where it was, or is told.

use super::script::PLAIN;
use super::simulation::World;
use crate::relay::session::{Abort, Event, Loss};

/// A client under traffic, with a handover that has come as far as `steps`.
fn under_way(seed: u64, steps: usize) -> World {
    let mut world = World::new(seed, PLAIN);
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

#[test]
fn the_next_connection_may_break_at_any_step() {
    let (mut kept, mut closed) = (0, 0);
    for seed in 0..150 {
        let steps = usize::try_from(seed).unwrap();
        let mut world = under_way(seed, steps);
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
        let mut world = under_way(seed, 0);
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
    let (mut restored, mut closed) = (0, 0);
    for seed in 0..150 {
        let steps = usize::try_from(seed).unwrap();
        let mut world = under_way(seed, steps);
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
