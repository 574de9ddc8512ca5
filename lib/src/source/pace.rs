//! How often changes may be announced: at once, until they come without end.
//!
//! Other programs may write into a watched directory as fast as they like, and even our own log
//! may lie there, so that each reading causes the next. Has no clock and waits for nothing.

use std::time::Duration;

use tokio::time::Instant;

/// Rotations come in bursts of a few wake-ups each; these are never delayed.
const BURST: u32 = 50;

/// Beyond the burst: 200 readings a second at most, of about 0.1 ms each.
const EVERY: Duration = Duration::from_millis(5);

/// A bucket of `BURST` announcements, refilled with one more after each `EVERY`.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the bucket is full again. No bucket is emptier than `BURST * EVERY` before that.
    full_at: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// When the next announcement may be made; in the past or `now`, if at once.
    pub(super) fn next(&self, now: Instant) -> Instant {
        self.full_at.checked_sub(EVERY * (BURST - 1)).unwrap_or(now)
    }

    /// An announcement was made.
    pub(super) fn announced(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_not_delayed_and_a_flood_is() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        for _ in 0..BURST {
            assert!(pace.next(begin) <= begin);
            pace.announced(begin);
        }
        let mut now = begin;
        for _ in 0..10 {
            assert_eq!(pace.next(now), now + EVERY);
            now += EVERY;
            pace.announced(now);
        }
    }

    #[test]
    fn quiet_fills_the_bucket_but_not_beyond() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let later = begin + Duration::from_secs(3600);
        for _ in 0..BURST {
            assert!(pace.next(later) <= later);
            pace.announced(later);
        }
        assert!(pace.next(later) > later);
    }
}
