//! What was measured once and is to be reported once, and word that something changed. Bounded:
//! nobody need ever read it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Measured once, to be reported once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A connection was down for so long.
    Outage { component: String, outage: Duration },
    /// From the first sight of a change to a live connection on it.
    Rotation { duration: Duration },
}

/// What nobody took until there were so many is forgotten, the oldest first.
const OBSERVATIONS: usize = 4096;

/// What was seen of all connections and waits to be reported.
#[derive(Default)]
pub(crate) struct Journal {
    observations: Mutex<VecDeque<Observation>>,
    changed: Notify,
}

impl Journal {
    fn observations(&self) -> MutexGuard<'_, VecDeque<Observation>> {
        self.observations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe(&self, observation: Observation) {
        let mut observations = self.observations();
        if observations.len() == OBSERVATIONS {
            observations.pop_front();
        }
        observations.push_back(observation);
        self.changed.notify_one();
    }

    /// Some report changed.
    pub(super) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Takes what was observed since the last call.
    pub(crate) fn take(&self) -> VecDeque<Observation> {
        std::mem::take(&mut *self.observations())
    }

    /// Waits until something was reported since the last call. For one waiter.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_if_nobody_reads() {
        let journal = Journal::default();
        for number in 0..OBSERVATIONS + 3 {
            let duration = Duration::from_nanos(number.try_into().unwrap());
            journal.observe(Observation::Rotation { duration });
        }
        let taken = journal.take();
        assert_eq!(taken.len(), OBSERVATIONS);
        let duration = Duration::from_nanos(3);
        assert_eq!(taken.front(), Some(&Observation::Rotation { duration }));
        assert!(journal.take().is_empty());
    }
}
