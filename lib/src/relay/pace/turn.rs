//! When one session moves, given the time: no clock, no waiting, no other sessions.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::store::Generation;

/// After a failed handover.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How long before its end a certificate should not be in use any more.
const LAST_CALL: Duration = Duration::from_secs(30);
/// Even an expired certificate gets a few tries in peace: the server does not cut what is up.
const GRACE: Duration = Duration::from_secs(5);

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, until then or until something is published.
    Wait(Option<Instant>),
    /// Move as soon as there is a slot, and then whether there is one or not.
    Ask { force_at: Instant },
    /// Move at once, whoever else does.
    Force,
}

/// One session: where it is, and when it goes on.
#[derive(Debug)]
pub(super) struct Turn {
    spread: Duration,
    on: Generation,
    retires: Instant,
    published: Generation,
    failures: u32,
    plan: Plan,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It is where it should be.
    Stay,
    /// It goes at `due`, and in any case at `force_at`.
    Go { due: Instant, force_at: Instant },
    /// It cannot go before it must.
    Hold { force_at: Instant },
    /// It goes at `due`; nothing forces it.
    Leave { due: Instant },
}

impl Turn {
    pub(super) const fn new(spread: Duration, on: Generation, retires: Instant) -> Self {
        Self {
            spread,
            on,
            retires,
            published: on,
            failures: 0,
            plan: Plan::Stay,
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.on < self.published
    }

    /// `0.0 <= random < 1.0`. Says again what is known without any effect.
    pub(super) fn handle_published(&mut self, generation: Generation, now: Instant, random: f64) {
        if generation <= self.published {
            return;
        }
        self.published = generation;
        if !self.is_behind() {
            return;
        }
        // What failed for the last one says nothing about this one.
        self.failures = 0;
        let remaining = self.retires.saturating_duration_since(now);
        let until_forced = remaining
            .saturating_sub(LAST_CALL)
            .max(remaining / 2)
            .max(GRACE);
        self.plan = Plan::Go {
            due: now + self.spread.min(remaining / 2).mul_f64(random),
            force_at: now + until_forced,
        };
    }

    pub(super) fn handle_leave(&mut self, now: Instant, random: f64) {
        if self.plan == Plan::Stay {
            let due = now + self.spread.mul_f64(random);
            self.plan = Plan::Leave { due };
        }
    }

    pub(super) fn handle_moved(&mut self, on: Generation, retires: Instant) {
        self.on = on;
        self.retires = retires;
        self.failures = 0;
        // A generation that came meanwhile is news again, one that it is on already is not.
        self.published = on;
        self.plan = Plan::Stay;
    }

    pub(super) fn handle_failed(&mut self, now: Instant, random: f64) {
        self.failures = self.failures.saturating_add(1);
        let again = now + RETRY.wait_with(self.failures, random);
        match &mut self.plan {
            // The last call failed too: what works is kept, also beyond the end of its certificate.
            Plan::Go { due, force_at } if *force_at <= now => (*due, *force_at) = (again, again),
            Plan::Go { due, .. } | Plan::Leave { due } => *due = again,
            Plan::Stay | Plan::Hold { .. } => {}
        }
    }

    /// What is to move was warned, and gets until `due`.
    pub(super) fn handle_told(&mut self, until: Instant) {
        match &mut self.plan {
            Plan::Go { due, .. } | Plan::Leave { due } => *due = until,
            Plan::Stay | Plan::Hold { .. } => {}
        }
    }

    pub(super) fn handle_impossible(&mut self) {
        self.plan = match self.plan {
            Plan::Go { force_at, .. } | Plan::Hold { force_at } => Plan::Hold { force_at },
            // The server closes the session when it leaves; the client then connects again.
            Plan::Stay | Plan::Leave { .. } => Plan::Stay,
        };
    }

    pub(super) fn poll(&self, now: Instant) -> Next {
        match self.plan {
            Plan::Stay => Next::Wait(None),
            Plan::Go { force_at, .. } | Plan::Hold { force_at } if force_at <= now => Next::Force,
            Plan::Go { due, force_at } if due <= now => Next::Ask { force_at },
            Plan::Go { due, force_at } => Next::Wait(Some(due.min(force_at))),
            Plan::Hold { force_at } => Next::Wait(Some(force_at)),
            Plan::Leave { due } if due <= now => Next::Ask {
                force_at: self.retires.max(now + GRACE),
            },
            Plan::Leave { due } => Next::Wait(Some(due)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn generation(number: u64) -> Generation {
        (0..number).fold(Generation::NONE, |generation, _| generation.next())
    }

    /// A session whose certificate ends after `lasts`, told of a new generation now.
    fn told(lasts: Duration, spread: Duration, random: f64) -> (Turn, Instant) {
        let now = Instant::now();
        let mut turn = Turn::new(spread, generation(1), now + lasts);
        assert_eq!(turn.poll(now), Next::Wait(None));
        turn.handle_published(generation(2), now, random);
        assert!(turn.is_behind());
        (turn, now)
    }

    #[test]
    fn the_spread_never_goes_past_half_of_what_the_certificate_has_left() {
        let cases = [
            (1000, 10, 0.0, 0),
            (1000, 10, 0.5, 5),
            (10, 1000, 0.5, 2),
            (0, 1000, 0.9, 0),
        ];
        for (lasts, spread, random, due) in cases {
            let (turn, now) = told(lasts * SECOND, spread * SECOND, random);
            let next = turn.poll(now);
            match due {
                0 => assert!(matches!(next, Next::Ask { .. }), "{next:?}"),
                due => {
                    let due = now + due * SECOND;
                    assert!(
                        matches!(next, Next::Wait(Some(until)) if until >= due && until <= due + SECOND),
                        "{next:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_last_call_comes_before_the_end_and_not_at_once() {
        for (lasts, forced) in [(1000, 970), (60, 30), (20, 10), (4, 5), (0, 5)] {
            let (turn, now) = told(lasts * SECOND, Duration::ZERO, 0.0);
            let force_at = now + forced * SECOND;
            assert_eq!(turn.poll(now), Next::Ask { force_at }, "{lasts}");
            assert_eq!(turn.poll(force_at), Next::Force, "{lasts}");
        }
    }

    #[test]
    fn a_last_call_that_failed_is_repeated_with_a_backoff() {
        let (mut turn, now) = told(4 * SECOND, Duration::ZERO, 0.0);
        let mut at = now + 5 * SECOND;
        for longest in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(turn.poll(at), Next::Force);
            turn.handle_failed(at, 1.0);
            let again = at + longest * SECOND;
            assert_eq!(turn.poll(at), Next::Wait(Some(again)));
            at = again;
        }
    }

    #[test]
    fn the_same_news_twice_changes_nothing() {
        let (mut turn, now) = told(1000 * SECOND, 100 * SECOND, 0.5);
        let before = turn.poll(now);
        turn.handle_published(generation(2), now + SECOND, 0.9);
        turn.handle_published(generation(1), now + SECOND, 0.9);
        assert_eq!(turn.poll(now), before);
    }

    #[test]
    fn a_newer_generation_forgets_what_failed() {
        let (mut turn, now) = told(1000 * SECOND, Duration::ZERO, 0.0);
        for _ in 0..10 {
            turn.handle_failed(now, 0.9);
        }
        assert!(matches!(turn.poll(now), Next::Wait(Some(_))));
        turn.handle_published(generation(3), now, 0.0);
        assert!(matches!(turn.poll(now), Next::Ask { .. }));
        turn.handle_impossible();
        assert!(matches!(turn.poll(now), Next::Wait(Some(_))));
        turn.handle_published(generation(4), now, 0.0);
        assert!(matches!(turn.poll(now), Next::Ask { .. }));
    }

    #[test]
    fn whoever_was_told_is_asked_again_when_its_time_is_up() {
        let (mut turn, now) = told(1000 * SECOND, Duration::ZERO, 0.0);
        let next = turn.poll(now);
        turn.handle_told(now + 5 * SECOND);
        assert_eq!(turn.poll(now), Next::Wait(Some(now + 5 * SECOND)));
        assert_eq!(turn.poll(now + 5 * SECOND), next);
        assert_eq!(turn.poll(now + 970 * SECOND), Next::Force);
    }

    #[test]
    fn a_server_that_leaves_forces_nobody() {
        let now = Instant::now();
        let mut turn = Turn::new(SECOND, generation(1), now + SECOND);
        turn.handle_leave(now, 0.0);
        assert!(matches!(turn.poll(now), Next::Ask { .. }));
        assert!(matches!(turn.poll(now + 9 * SECOND), Next::Ask { .. }));
        turn.handle_impossible();
        assert_eq!(turn.poll(now + 9 * SECOND), Next::Wait(None));
    }
}
