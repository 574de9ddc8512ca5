//! The state machine under a simulated clock: what is decided when, without files or servers.

mod bench;
mod on_trial;

use std::time::Duration;

use super::*;
use bench::{Bench, SETTLE, SPREAD, Set, missing};

const DAY: i64 = 86_400;

#[test]
fn the_first_set_is_published_without_patience_or_question() {
    let mut bench = Bench::new();
    let first = bench.set(DAY);
    bench.read(&first).published();
    assert!(matches!(bench.read(&first).0, Decision::Unchanged));
    assert_eq!(bench.next_read(), None);
}

#[test]
fn a_torn_set_is_looked_at_again_ever_slower_and_rejected_after_the_settle_time() {
    let mut bench = Bench::with_active();
    let torn = bench.set(DAY).with_key_of(&bench.set(DAY));
    let mut waits = Vec::new();
    let rejection = loop {
        match bench.read(&torn).0 {
            Decision::Settling => {
                let wait = bench.next_read().unwrap();
                waits.push(wait);
                bench.pass(wait);
            }
            Decision::Rejected { rejection, fresh } => {
                assert!(fresh);
                break rejection;
            }
            _ => panic!("neither settling nor rejected"),
        }
    };
    assert_eq!(rejection.reason, Reason::KeyMismatch);
    assert_eq!(waits.iter().sum::<Duration>(), SETTLE);
    assert_eq!(waits[..3], [10, 20, 40].map(Duration::from_millis));
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));

    // Judged again at each poll, counted once.
    assert_eq!(bench.next_read(), None);
    bench.pass(SETTLE);
    assert!(!bench.read(&torn).rejected(Reason::KeyMismatch));
    // Another bad set is another rejection, after patience of its own.
    let torn = bench.set(DAY).with_key_of(&bench.set(DAY));
    assert!(matches!(bench.read(&torn).0, Decision::Settling));
    bench.pass(SETTLE);
    assert!(bench.read(&torn).rejected(Reason::KeyMismatch));
}

#[test]
fn patience_is_not_renewed_by_one_torn_set_after_the_other() {
    let mut bench = Bench::with_active();
    let half = SETTLE / 2;
    for _ in 0..2 {
        let torn = bench.set(DAY).with_key_of(&bench.set(DAY));
        assert!(matches!(bench.read(&torn).0, Decision::Settling));
        bench.pass(half);
    }
    assert!(bench.read_result(&missing()).rejected(Reason::ReadError));
}

#[test]
fn a_set_that_is_whole_in_time_was_never_bad() {
    let mut bench = Bench::with_active();
    let next = bench.set(DAY);
    let torn = next.with_key_of(&bench.set(DAY));
    assert!(matches!(bench.read(&torn).0, Decision::Settling));
    bench.pass(Duration::from_millis(300));
    bench.read(&next).waits(None);
    assert_eq!(bench.next_read(), Some(SPREAD / 2));
}

#[test]
fn what_no_writer_leaves_halfway_is_rejected_at_once_and_so_is_what_a_person_asks_about() {
    let mut bench = Bench::with_active();
    let expired = bench.set(-60);
    assert!(bench.read(&expired).rejected(Reason::Expired));
    assert!(!bench.read(&expired).rejected(Reason::Expired));
    let torn = bench.set(DAY).with_key_of(&bench.set(DAY));
    assert!(bench.ask_for(&torn).rejected(Reason::KeyMismatch));
}

#[test]
fn other_text_of_the_same_content_is_unchanged() {
    let mut bench = Bench::new();
    let first = bench.set(DAY);
    bench.read(&first).published();
    let retold = Set {
        certificate: format!("# again\r\n{}", first.certificate),
        ..first.clone()
    };
    assert!(matches!(bench.read(&retold).0, Decision::Unchanged));
    // Back from something bad too.
    assert!(bench.ask_for(&bench.set(-60)).rejected(Reason::Expired));
    assert!(matches!(bench.read(&first).0, Decision::Unchanged));
    assert_eq!(bench.next_read(), None);
}

#[test]
fn a_set_from_the_future_is_judged_again_as_time_passes() {
    let mut bench = Bench::with_active();
    let future = bench.set_between(3_600, DAY);
    assert!(bench.read(&future).rejected(Reason::NotYetValid));
    bench.pass(Duration::from_secs(3_500));
    assert!(!bench.read(&future).rejected(Reason::NotYetValid));
    // The default policy allows a minute of skew.
    bench.pass(Duration::from_secs(40));
    bench.read(&future).waits(None);
}

#[test]
fn of_two_expired_sets_the_later_one_is_published_with_a_warning() {
    let mut bench = Bench::new();
    bench.read(&bench.set(60)).published();
    let (earlier, later) = (bench.set(30), bench.set(90));
    bench.pass(Duration::from_secs(61));
    assert!(bench.read(&earlier).rejected(Reason::Expired));
    // Valid still: nothing special.
    let material = bench.read(&later).published();
    assert!(
        !material
            .warnings()
            .contains(&crate::material::Warning::LocalClock)
    );

    let (earlier, later) = (bench.set(5), bench.set(60));
    bench.pass(Duration::from_secs(120));
    assert!(bench.read(&earlier).rejected(Reason::Expired));
    let material = bench.read(&later).published();
    assert!(
        material
            .warnings()
            .contains(&crate::material::Warning::LocalClock)
    );
}

#[test]
fn what_rustls_cannot_use_stays_rejected_until_the_files_hold_something_else() {
    let mut bench = Bench::new();
    let set = bench.set(DAY);
    let material = bench.read(&set).wants_to_publish();
    bench.unusable(&material);
    // Neither in step with what is active, which is nothing, nor news at each poll.
    assert!(!bench.read(&set).rejected(Reason::UnsupportedKey));
    assert!(!bench.ask_for(&set).rejected(Reason::UnsupportedKey));
    assert_eq!(bench.next_read(), None);
    bench.read(&bench.set(DAY)).published();

    // The same where a server would have been asked: no answer is waited for.
    bench.ask_for(&set).asks(None);
    bench.unusable(&material);
    assert!(matches!(
        bench.answer(&GateAnswer::Accepted).0,
        Decision::Unchanged
    ));
    assert!(!bench.read(&set).rejected(Reason::UnsupportedKey));
    let next = bench.set(DAY);
    bench.ask_for(&next).asks(None);
}
