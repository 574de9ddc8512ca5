//! A candidate between the files and the gate.

use std::time::Duration;

use super::DAY;
use super::bench::{Bench, SPREAD, Set};
use crate::material::{Reason, Rejection};
use crate::reload::{Decision, ask};
use crate::store::GateAnswer;

const TURN: Duration = Duration::from_secs(2);

fn pending() -> GateAnswer {
    GateAnswer::Pending {
        detail: "a: connection refused".to_owned(),
    }
}

fn refused(reason: Reason) -> GateAnswer {
    GateAnswer::Refused(Rejection::by_server(reason, "a: unknown ca"))
}

const NOT_ASKED: GateAnswer = GateAnswer::NotAsked {
    why: "preflight is switched off",
};

/// A bench whose candidate is being asked about.
fn asked() -> (Bench, Set) {
    let mut bench = Bench::with_active();
    let candidate = bench.set(20 * DAY);
    bench.ask_for(&candidate).asks(None);
    (bench, candidate)
}

/// A bench that was rolled back from the set on disk.
fn rolled_back() -> (Bench, Set) {
    let (mut bench, failed) = asked();
    let good = bench.active();
    bench.answer(&GateAnswer::Accepted).published();
    let quarantined = bench.roll_back_to(good);
    assert!(quarantined.on_disk);
    assert_eq!(quarantined.rejection.reason, Reason::RolledBack);
    assert!(quarantined.rejection.detail.contains("unknown ca"));
    (bench, failed)
}

#[track_caller]
fn within(wait: Option<Duration>, from: Duration, to: Duration) {
    let wait = wait.expect("it wants to be woken");
    assert!((from..=to).contains(&wait), "{wait:?}");
}

#[test]
fn the_gate_is_asked_after_the_spread_and_an_accepted_set_is_published() {
    let mut bench = Bench::with_active();
    let candidate = bench.set(20 * DAY);
    bench.read(&candidate).waits(None);
    assert_eq!(bench.next_read(), Some(TURN));
    bench.pass(TURN / 2);
    bench.read(&candidate).waits(None);
    bench.pass(TURN / 2);
    let material = bench.read(&candidate).asks(None);
    // Polls meanwhile change nothing.
    bench.read(&candidate).waits(None);
    let published = bench.answer(&GateAnswer::Accepted).published();
    assert_eq!(published.digest(), material.digest());
    assert!(matches!(bench.read(&candidate).0, Decision::Unchanged));
}

#[test]
fn the_spread_leaves_half_of_the_time_that_the_active_set_has() {
    let mut bench = Bench::new();
    bench.read(&bench.set(2)).published();
    bench.read(&bench.set(DAY)).waits(None);
    assert!(SPREAD > Duration::from_secs(1));
    assert_eq!(bench.next_read(), Some(Duration::from_millis(500)));
}

#[test]
fn a_person_does_not_wait_for_the_spread() {
    let mut bench = Bench::with_active();
    let candidate = bench.set(20 * DAY);
    bench.read(&candidate).waits(None);
    bench.ask_for(&candidate).asks(None);
}

#[test]
fn a_newer_candidate_keeps_the_turn_of_the_one_it_replaces() {
    let mut bench = Bench::with_active();
    bench.read(&bench.set(20 * DAY)).waits(None);
    for _ in 0..3 {
        bench.pass(TURN / 4);
        bench.read(&bench.set(20 * DAY)).waits(None);
    }
    assert_eq!(bench.next_read(), Some(TURN / 4));
    bench.pass(TURN / 4);
    let newest = bench.set(20 * DAY);
    bench.read(&newest).asks(None);
}

#[test]
fn an_answer_about_a_candidate_that_was_replaced_is_ignored() {
    for answer in [
        GateAnswer::Accepted,
        NOT_ASKED,
        pending(),
        refused(Reason::ServerRefused),
    ] {
        let (mut bench, _) = asked();
        let newer = bench.set(20 * DAY);
        bench.read(&newer).waits(None);
        bench.answer(&answer).waits(None);
        assert_eq!(bench.next_read(), Some(TURN));
        bench.pass(TURN);
        let material = bench.read(&newer).asks(None);
        let published = bench.answer(&GateAnswer::Accepted).published();
        assert_eq!(published.digest(), material.digest());
    }
}

#[test]
fn an_answer_about_a_candidate_that_went_bad_or_away_is_ignored() {
    let (mut bench, _) = asked();
    assert!(bench.ask_for(&bench.set(-60)).rejected(Reason::Expired));
    assert!(matches!(
        bench.answer(&GateAnswer::Accepted).0,
        Decision::Unchanged
    ));

    let mut bench = Bench::new();
    let first = bench.set(DAY);
    bench.read(&first).published();
    bench.ask_for(&bench.set(DAY)).asks(None);
    assert!(matches!(bench.read(&first).0, Decision::Unchanged));
    assert!(matches!(
        bench.answer(&GateAnswer::Accepted).0,
        Decision::Unchanged
    ));
}

#[test]
fn a_refusal_is_news_once_and_asked_about_again() {
    let (mut bench, candidate) = asked();
    let refusal = Some(Reason::ServerRefused);
    assert!(
        bench
            .answer(&refused(Reason::ServerRefused))
            .rejected(Reason::ServerRefused)
    );
    within(
        bench.next_read(),
        Duration::from_millis(500),
        Duration::from_secs(1),
    );
    bench.read(&candidate).waits(refusal);
    bench.pass(Duration::from_secs(1));
    bench.read(&candidate).asks(refusal);
    bench.read(&candidate).waits(refusal);
    assert!(
        !bench
            .answer(&refused(Reason::ServerRefused))
            .rejected(Reason::ServerRefused)
    );
    within(
        bench.next_read(),
        Duration::from_secs(1),
        Duration::from_secs(2),
    );

    // No answer does not take the refusal back; another reason is news.
    bench.pass(Duration::from_secs(2));
    bench.read(&candidate).asks(refusal);
    bench.answer(&pending()).waits(refusal);
    bench.ask_for(&candidate).asks(refusal);
    assert!(
        bench
            .answer(&refused(Reason::ServerUntrusted))
            .rejected(Reason::ServerUntrusted)
    );
    bench
        .ask_for(&candidate)
        .asks(Some(Reason::ServerUntrusted));
    bench.answer(&GateAnswer::Accepted).published();
}

#[test]
fn what_is_pending_is_asked_about_ever_less_often_but_at_least_once_a_minute() {
    let (mut bench, candidate) = asked();
    for ceiling in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
        bench.answer(&pending()).waits(None);
        within(bench.next_read(), ceiling / 2, ceiling);
        bench.pass(ceiling);
        bench.read(&candidate).asks(None);
    }
}

#[test]
fn a_new_server_is_asked_at_once() {
    let (mut bench, candidate) = asked();
    bench.answer(&pending()).waits(None);
    bench.new_server();
    assert_eq!(bench.next_read(), Some(Duration::ZERO));
    bench.read(&candidate).asks(None);
}

#[test]
fn once_the_active_set_has_expired_a_candidate_is_published_without_an_answer() {
    for answer in [None, Some(pending()), Some(refused(Reason::ServerRefused))] {
        let mut bench = Bench::new();
        bench.read(&bench.set(1)).published();
        let candidate = bench.set(DAY);
        bench.ask_for(&candidate).asks(None);
        if let Some(answer) = &answer {
            bench.answer(answer);
            bench.ask_for(&candidate);
            bench.answer(answer);
        }
        // The next question would come later than the end.
        assert!(bench.next_read() <= Some(Duration::from_secs(1)));
        bench.pass(Duration::from_millis(1_001));
        bench.read(&candidate).published();
    }
}

#[test]
fn a_set_that_was_rolled_back_waits_before_it_is_asked_about() {
    let (mut bench, failed) = rolled_back();
    within(
        bench.next_read(),
        Duration::from_secs(5),
        Duration::from_secs(10),
    );
    bench.read(&failed).waits(Some(Reason::RolledBack));
    bench.pass(Duration::from_secs(10));
    bench.read(&failed).asks(Some(Reason::RolledBack));
}

#[test]
fn only_an_accepted_preflight_ends_the_quarantine() {
    let (mut bench, failed) = rolled_back();
    let refusal = Some(Reason::RolledBack);
    for _ in 0..3 {
        bench.ask_for(&failed).asks(refusal);
        assert!(!bench.answer(&NOT_ASKED).rejected(Reason::RolledBack));
        bench.ask_for(&failed).asks(refusal);
        bench.answer(&pending()).waits(refusal);
    }
    // Gone and back: it is known by its content.
    assert!(bench.ask_for(&bench.set(-60)).rejected(Reason::Expired));
    bench.ask_for(&failed).asks(None);
    assert!(bench.answer(&NOT_ASKED).rejected(Reason::RolledBack));

    bench.ask_for(&failed).asks(refusal);
    let good = bench.active();
    bench.answer(&GateAnswer::Accepted).published();

    // It fails once more: the wait doubles.
    assert!(bench.roll_back_to(good).on_disk);
    within(
        bench.next_read(),
        Duration::from_secs(10),
        Duration::from_secs(20),
    );
    bench.ask_for(&failed).asks(refusal);
    assert!(!bench.answer(&NOT_ASKED).rejected(Reason::RolledBack));
}

#[test]
fn another_set_has_nothing_to_do_with_the_quarantine() {
    let (mut bench, _) = rolled_back();
    let next = bench.set(20 * DAY);
    bench.read(&next).waits(None);
    bench.pass(TURN);
    bench.read(&next).asks(None);
    bench.answer(&NOT_ASKED).published();
}

#[test]
fn a_newer_candidate_on_trial_survives_a_rollback() {
    let (mut bench, _) = asked();
    let good = bench.active();
    bench.answer(&GateAnswer::Accepted).published();
    let newer = bench.set(20 * DAY);
    let asked_about = bench.ask_for(&newer).asks(None);
    assert!(!bench.roll_back_to(good).on_disk);
    let published = bench.answer(&GateAnswer::Accepted).published();
    assert_eq!(published.digest(), asked_about.digest());
}

#[test]
fn the_quarantine_is_bounded_and_forgets_the_oldest_first() {
    let mut quarantine = ask::Quarantine::default();
    let bench = || Bench::with_active().active().digest();
    let digests: Vec<_> = (0..17).map(|_| bench()).collect();
    for digest in &digests {
        quarantine.put(*digest, "unknown ca");
    }
    assert!(quarantine.reason_of(digests[0]).is_none());
    for digest in &digests[1..] {
        let held = quarantine.reason_of(*digest).expect("held");
        assert_eq!(held.reason, Reason::RolledBack);
    }
    quarantine.release(digests[1]);
    assert!(quarantine.reason_of(digests[1]).is_none());
}
