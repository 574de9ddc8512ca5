//! When one hook is run: one generation at a time, the newest only, again after a failure. Pure:
//! `now` is an argument.

use std::time::Duration;

use nats_mtls::Backoff;
use tokio::time::Instant;

/// The queue of one hook. At most one generation is being told and at most one waits.
#[derive(Debug)]
pub(super) struct Errand {
    backoff: Backoff,
    running: Option<Attempt>,
    /// What runs now is history, however it ends.
    is_outdated: bool,
    waiting: Option<Waiting>,
}

/// One run of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) generation: u64,
    /// Counted from 1 for each generation.
    pub(super) number: u32,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    due: Instant,
}

impl Errand {
    pub(super) const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            running: None,
            is_outdated: false,
            waiting: None,
        }
    }

    /// There is something to tell. A generation that still waits is never told: who reads the
    /// files now reads the newer ones.
    pub(super) fn handle_news(&mut self, generation: u64, now: Instant) {
        let newest = [
            self.running.map(|attempt| attempt.generation),
            self.waiting
                .as_ref()
                .map(|waiting| waiting.attempt.generation),
        ];
        if newest
            .into_iter()
            .flatten()
            .any(|known| known >= generation)
        {
            return;
        }
        let attempt = Attempt {
            generation,
            number: 1,
        };
        self.waiting = Some(Waiting { attempt, due: now });
    }

    /// There is something newer, and it is not to be told: what failed before is not tried again.
    pub(super) fn handle_silence(&mut self) {
        self.waiting = None;
        self.is_outdated = true;
    }

    /// What to run now, if anything. [`Errand::handle_end`] must follow.
    pub(super) fn poll_start(&mut self, now: Instant) -> Option<Attempt> {
        if self.running.is_some() || self.waiting.as_ref()?.due > now {
            return None;
        }
        let attempt = self.waiting.take()?.attempt;
        self.running = Some(attempt);
        self.is_outdated = false;
        Some(attempt)
    }

    /// How the run ended. After a failure it is tried again, unless something newer waits; says
    /// after which pause.
    pub(super) fn handle_end(&mut self, succeeded: bool, now: Instant) -> Option<Duration> {
        let attempt = self.running.take()?;
        if succeeded || self.is_outdated || self.waiting.is_some() {
            return None;
        }
        let pause = self.backoff.wait(attempt.number);
        let attempt = Attempt {
            number: attempt.number.saturating_add(1),
            ..attempt
        };
        self.waiting = Some(Waiting {
            attempt,
            due: now + pause,
        });
        Some(pause)
    }

    /// When to poll again; none while one runs or nothing waits.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.running {
            Some(_) => None,
            None => self.waiting.as_ref().map(|waiting| waiting.due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(8);

    fn errand() -> Errand {
        Errand::new(Backoff::new(FIRST, LIMIT))
    }

    fn attempt(generation: u64, number: u32) -> Option<Attempt> {
        Some(Attempt { generation, number })
    }

    #[test]
    fn one_after_the_other_and_only_the_newest() {
        let now = Instant::now();
        let mut errand = errand();
        assert_eq!(errand.poll_start(now), None);
        errand.handle_news(2, now);
        assert_eq!(errand.poll_timeout(), Some(now));
        assert_eq!(errand.poll_start(now), attempt(2, 1));
        for generation in [3, 4, 5] {
            errand.handle_news(generation, now);
            assert_eq!(errand.poll_start(now), None, "2 still runs");
        }
        assert_eq!(errand.poll_timeout(), None);
        assert_eq!(errand.handle_end(true, now), None);
        assert_eq!(errand.poll_start(now), attempt(5, 1));
        assert_eq!(errand.handle_end(true, now), None);
        assert_eq!(errand.poll_start(now + LIMIT), None);
        assert_eq!(errand.poll_timeout(), None);
    }

    #[test]
    fn a_failure_is_tried_again_after_a_growing_pause_for_ever() {
        let mut now = Instant::now();
        let mut errand = errand();
        errand.handle_news(2, now);
        let mut longest = Duration::ZERO;
        for number in 1..40 {
            assert_eq!(errand.poll_start(now), attempt(2, number));
            let pause = errand.handle_end(false, now).unwrap();
            assert!(pause <= LIMIT && pause >= FIRST / 2, "{pause:?}");
            assert_eq!(errand.poll_start(now), None, "not before the pause is over");
            longest = longest.max(pause);
            now = errand.poll_timeout().unwrap();
        }
        assert!(longest > LIMIT / 2, "{longest:?}");
    }

    #[test]
    fn something_newer_does_not_wait_for_the_pause_of_the_older() {
        let now = Instant::now();
        let mut errand = errand();
        errand.handle_news(2, now);
        errand.poll_start(now);
        errand.handle_end(false, now);
        errand.handle_news(3, now);
        assert_eq!(errand.poll_start(now), attempt(3, 1));
        errand.handle_news(4, now);
        assert_eq!(errand.handle_end(false, now), None, "3 is not told again");
        assert_eq!(errand.poll_start(now), attempt(4, 1));
    }

    #[test]
    fn silence_ends_what_failed_before() {
        let now = Instant::now();
        let mut errand = errand();
        errand.handle_news(2, now);
        errand.poll_start(now);
        errand.handle_silence();
        assert_eq!(errand.handle_end(false, now), None, "2 is history");
        errand.handle_news(4, now);
        errand.poll_start(now);
        errand.handle_end(false, now);
        errand.handle_silence();
        assert_eq!(errand.poll_timeout(), None);
        errand.handle_news(6, now);
        assert_eq!(errand.poll_start(now), attempt(6, 1));
        assert!(errand.handle_end(false, now).is_some());
    }

    #[test]
    fn what_is_told_or_waits_is_not_told_twice() {
        let now = Instant::now();
        let mut errand = errand();
        errand.handle_news(2, now);
        errand.handle_news(2, now);
        errand.poll_start(now);
        errand.handle_news(2, now);
        errand.handle_news(1, now);
        errand.handle_end(true, now);
        assert_eq!(errand.poll_start(now), None);
    }
}
