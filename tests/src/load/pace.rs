//! How fast a publisher goes: by a schedule that does not wait for anybody, or as much as is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two looks at the schedule: messages that are due within it go out in one write.
pub(super) const TICK: Duration = Duration::from_micros(500);

/// How fast.
#[derive(Debug, Clone)]
pub enum Pace {
    /// So many a second. Messages that could not be written in time keep the moment they were due.
    Rate(f64),
    /// As many as are taken, with at most `window` more sent than `received` says: a server
    /// disconnects a subscriber that falls far behind.
    Saturate {
        /// The most that may be under way.
        window: u64,
        /// How many arrived.
        received: Arc<AtomicU64>,
    },
}

impl Pace {
    /// How many messages should have been sent by `elapsed`.
    #[must_use]
    pub fn due(&self, elapsed: Duration) -> u64 {
        match self {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of messages"
            )]
            Self::Rate(rate) => (elapsed.as_secs_f64() * rate) as u64,
            Self::Saturate { window, received } => {
                received.load(Ordering::Relaxed).saturating_add(*window)
            }
        }
    }

    /// When message `sequence` is due; nothing if that is whenever it can be written.
    #[must_use]
    pub fn due_at(&self, sequence: u64) -> Option<Duration> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
            Self::Rate(rate) => Some(Duration::from_secs_f64((sequence + 1) as f64 / rate)),
            Self::Saturate { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_kept_whatever_was_sent_so_far() {
        let pace = Pace::Rate(20_000.0);
        assert_eq!(pace.due(Duration::ZERO), 0);
        assert_eq!(pace.due(Duration::from_millis(10)), 200);
        assert_eq!(pace.due_at(199), Some(Duration::from_millis(10)));
    }

    #[test]
    fn saturation_is_bounded_by_what_arrived() {
        let received = Arc::new(AtomicU64::new(0));
        let pace = Pace::Saturate {
            window: 100,
            received: Arc::clone(&received),
        };
        assert_eq!(pace.due(Duration::ZERO), 100);
        received.store(40, Ordering::Relaxed);
        assert_eq!(pace.due(Duration::from_secs(9)), 140);
        assert_eq!(pace.due_at(3), None);
    }
}
