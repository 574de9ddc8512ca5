//! Handovers on one server under every interleaving: nothing is lost, repeated or reordered.

use super::script::{PLAIN, WITHOUT_ECHO};
use super::simulation::{INBOX, World};
use crate::relay::session::{ClientOptions, Event, Link};

/// A client that does everything a client may do, at random.
pub(super) fn live(world: &mut World, steps: usize, mut handovers: usize) {
    let mut sid = 0;
    for (subject, queue) in [
        ("a", None),
        ("b", None),
        ("own", None),
        ("q", Some("group")),
        (INBOX, None),
    ] {
        sid += 1;
        world.subscribe(&sid.to_string(), subject, queue);
    }
    for _ in 0..steps {
        match world.rng.u32(0..100) {
            0..15 => world.publish_elsewhere("a"),
            15..25 => world.publish_elsewhere("b"),
            25..35 => world.publish_elsewhere("q"),
            35..45 => world.publish(),
            45..48 => world.ping(),
            54 => world.request(),
            48 => {
                sid += 1;
                let subject = ["a", "b", "own"][world.rng.usize(0..3)];
                world.subscribe(&sid.to_string(), subject, None);
                if !world.is_cluster() && world.rng.bool() {
                    let max = world.rng.usize(1..30);
                    world.unsubscribe(&sid.to_string(), Some(max));
                }
            }
            49 if sid > 5 => {
                let some = world.rng.u32(6..=sid).to_string();
                let known = &world.expected[&some];
                if known.max.is_none() && known.until.is_none() {
                    world.unsubscribe(&some, None);
                }
            }
            53 if sid > 5 && !world.is_cluster() => {
                // Perhaps fewer than it has had already.
                let some = world.rng.u32(6..=sid).to_string();
                let known = &world.expected[&some];
                if known.max.is_none() && known.until.is_none() {
                    let max = world.rng.usize(1..30);
                    world.unsubscribe(&some, Some(max));
                }
            }
            52 => {
                let link = [Link::Current, Link::Next][world.rng.usize(0..2)];
                let info = "INFO {\"server_id\":\"S\",\"max_payload\":1048576}\r\n";
                let line = ["PING\r\n", info][world.rng.usize(0..2)];
                world.server_says(link, line);
            }
            50..52 if handovers > 0 && world.may_begin() => {
                handovers -= 1;
                world.begin_handover(false);
            }
            _ => {
                world.step();
            }
        }
    }
    world.drain();
    while handovers > 0 {
        handovers -= 1;
        world.begin_handover(false);
        world.drain();
    }
}

/// Nothing failed, and no copy was missing.
fn assert_smooth(seed: u64, world: &World) {
    for event in &world.events {
        assert!(
            matches!(
                event,
                Event::Switched { .. } | Event::Finished { unmatched: 0 }
            ),
            "seed {seed}: {event:?}"
        );
    }
}

fn exact_under(options: ClientOptions, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed, options);
        live(&mut world, 1500, 4);
        world.assert_exact(seed);
        let switched = world
            .events
            .iter()
            .filter(|event| matches!(event, Event::Switched { .. }));
        assert_eq!(switched.count(), 4, "seed {seed}: {:?}", world.events);
        assert_smooth(seed, &world);
    }
}

#[test]
fn a_plain_client_loses_repeats_and_reorders_nothing() {
    exact_under(PLAIN, 0..40);
}

#[test]
fn a_verbose_client_gets_each_acknowledgement_once() {
    let verbose = ClientOptions {
        verbose: true,
        ..PLAIN
    };
    exact_under(verbose, 0..30);
}

#[test]
fn a_client_without_echo_never_hears_itself() {
    exact_under(WITHOUT_ECHO, 0..30);
}

fn complete_in(cluster: fn(u64, ClientOptions) -> World, options: ClientOptions) {
    for seed in 0..20 {
        let mut world = cluster(seed, options);
        live(&mut world, 6000, 3);
        world.assert_complete(seed);
        assert_smooth(seed, &world);
    }
}

#[test]
fn on_the_way_to_another_server_nothing_is_lost_or_repeated() {
    complete_in(World::cluster, PLAIN);
}

#[test]
fn nor_is_it_where_others_want_the_same() {
    complete_in(World::shared_cluster, PLAIN);
}

#[test]
fn nor_without_echo() {
    complete_in(World::cluster, WITHOUT_ECHO);
    complete_in(World::shared_cluster, WITHOUT_ECHO);
}

/// A copy can be taken for another then: between two fences nothing tells them apart. Here far more often than at a real
/// server (`ARCHITECTURE.md`), because backlogs are many round trips long.
#[test]
fn identical_messages_are_seldom_miscounted() {
    let (mut handovers, mut lost) = (0, 0);
    for seed in 0..30 {
        let mut world = World::new(seed, PLAIN);
        world.is_monotonous = true;
        live(&mut world, 1500, 4);
        handovers += 4;
        for sid in ["1", "2"] {
            let surplus = world.surplus(sid);
            assert!(surplus <= 0, "seed {seed}: {surplus} repeated");
            lost += surplus.unsigned_abs();
        }
    }
    assert!(lost < handovers / 5, "{lost} in {handovers} handovers");
}
