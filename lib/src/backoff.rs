//! Exponential backoff with real jitter: no two processes that failed together retry together.

use std::time::Duration;

/// How long to wait after the n-th failure in a row.
///
/// The ceiling doubles from `first` to `limit`; the wait is drawn from the upper half below the
/// ceiling, so that it is never zero and never the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
}

impl Backoff {
    /// A backoff whose first wait is at most `first` and whose longest is at most `limit`.
    #[must_use]
    pub const fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit }
    }

    /// The wait after `failures` failures in a row; `failures` below one counts as one.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        self.wait_with(failures, fastrand::f64())
    }

    /// As [`Backoff::wait`], with the random number given: `0.0 <= random < 1.0`.
    pub(crate) fn wait_with(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.limit);
        ceiling.mul_f64(0.5 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

    #[test]
    fn doubles_up_to_the_limit() {
        let longest = |failures| BACKOFF.wait_with(failures, 1.0);
        assert_eq!(longest(1), Duration::from_millis(100));
        assert_eq!(longest(2), Duration::from_millis(200));
        assert_eq!(longest(5), Duration::from_millis(1600));
        assert_eq!(longest(6), Duration::from_secs(2));
        assert_eq!(longest(u32::MAX), Duration::from_secs(2));
    }

    #[test]
    fn jitter_spans_half_of_the_ceiling() {
        assert_eq!(BACKOFF.wait_with(1, 0.0), Duration::from_millis(50));
        assert_eq!(BACKOFF.wait_with(0, 0.0), Duration::from_millis(50));
        let waits: std::collections::HashSet<_> = (0..64).map(|_| BACKOFF.wait(6)).collect();
        assert!(waits.len() > 32, "the waits hardly differ: {waits:?}");
    }
}
