//! How far a session is with leaving its client.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::serving::Wake;
use crate::relay::pace::Permit;

/// How far a session is with leaving its client.
pub(super) enum Leaving {
    /// It stays.
    No,
    /// The client was told, and may go by itself until then.
    Told { until: Pin<Box<Sleep>> },
    /// What is on its way is let through. Whoever holds that up is closed all the same.
    LastBytes {
        until: Pin<Box<Sleep>>,
        /// So that few do it at once.
        _permit: Option<Permit>,
    },
}

impl Leaving {
    pub(super) fn told(limit: Duration) -> Self {
        let until = Box::pin(sleep(limit));
        Self::Told { until }
    }

    pub(super) fn last_bytes(limit: Duration, permit: Option<Permit>) -> Self {
        Self::LastBytes {
            until: Box::pin(sleep(limit)),
            _permit: permit,
        }
    }

    /// Whether the session is about to end, whatever else happens.
    pub(super) const fn is_decided(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// Waits for what comes next; for ever if that is not up to this.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call goes on.
    pub(super) async fn wake(&mut self) -> Wake {
        match self {
            Self::No => std::future::pending().await,
            Self::Told { until } => {
                until.await;
                Wake::TimeToLeave
            }
            Self::LastBytes { until, .. } => {
                until.await;
                Wake::Overdue
            }
        }
    }
}
