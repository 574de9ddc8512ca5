//! What a session is in the middle of, besides moving bytes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Here;
use super::serving::Wake;
use crate::backoff::Backoff;
use crate::relay::dial::{DialError, Dialed, Wish};
use crate::relay::pace::Permit;
use crate::relay::protocol::Connect;
use crate::relay::shared::Shared;

/// The longest wait between two passes. A connection that lasts longer ends the row of failures.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Between two passes over the servers while the client waits.
const BETWEEN_PASSES: Backoff = Backoff::new(Duration::from_millis(50), LONGEST_WAIT);
/// As often may a server say no before the client is told; a server that starts may know nobody yet.
const MOST_REFUSALS: u32 = 5;

/// Connections of one session that were lost soon after they came up, in a row: a server that accepts and then goes mad
/// is not asked again without a pause.
pub(super) struct ShortLived {
    row: u32,
    since: Instant,
}

impl ShortLived {
    /// The first connection has come up.
    pub(super) fn new() -> Self {
        Self {
            row: 0,
            since: Instant::now(),
        }
    }

    /// A connection is lost; after how many others in a row.
    pub(super) fn lost(&mut self) -> u32 {
        if self.since.elapsed() > LONGEST_WAIT {
            self.row = 0;
        }
        let before = self.row;
        self.row = before.saturating_add(1);
        before
    }

    pub(super) fn came_back(&mut self) {
        self.since = Instant::now();
    }
}

type Dial = Pin<Box<dyn Future<Output = Result<Dialed, DialError>> + Send>>;

/// What a session is in the middle of.
pub(super) enum Moving {
    Idle,
    /// A connection for a handover is being opened.
    Dialing {
        permit: Permit,
        dial: Dial,
    },
    HandingOver {
        permit: Permit,
        to: Box<Here>,
    },
    /// The client is on its new connection; late copies are still told apart.
    Tail,
    /// There is no upstream connection.
    Outage {
        since: Instant,
        dial: Dial,
    },
}

impl Moving {
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Idle)
    }

    pub(super) fn dial(
        permit: Permit,
        shared: &Arc<Shared>,
        connect: &Arc<Connect>,
        wish: Wish,
    ) -> Self {
        let (shared, connect) = (Arc::clone(shared), Arc::clone(connect));
        let dial = Box::pin(async move { shared.join(&wish, &connect).await });
        Self::Dialing { permit, dial }
    }

    /// Dials until a server answers, or keeps saying no. After `row` connections in a row that were lost at once, it
    /// waits first.
    pub(super) fn outage(shared: &Arc<Shared>, connect: &Arc<Connect>, row: u32) -> Self {
        let (shared, connect) = (Arc::clone(shared), Arc::clone(connect));
        let dial = Box::pin(async move {
            if row > 0 {
                sleep(BETWEEN_PASSES.wait(row)).await;
            }
            let (mut passes, mut refusals) = (row, 0);
            loop {
                let error = match shared.join(&Wish::default(), &connect).await {
                    Ok(dialed) => return Ok(dialed),
                    Err(error) => error,
                };
                passes = passes.saturating_add(1);
                refusals = if error.said().is_some() {
                    refusals + 1
                } else {
                    0
                };
                if refusals >= MOST_REFUSALS {
                    return Err(error);
                }
                debug!(%error, "relay: still no upstream");
                sleep(BETWEEN_PASSES.wait(passes)).await;
            }
        });
        let since = Instant::now();
        Self::Outage { since, dial }
    }

    /// The handover that is under way; anything else goes on.
    pub(super) fn take_handover(&mut self) -> Option<(Permit, Box<Here>)> {
        match self.take() {
            Self::HandingOver { permit, to } => Some((permit, to)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Waits for what comes next; for ever if that is not up to this.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call goes on.
    pub(super) async fn wake(&mut self) -> Wake {
        match self {
            Self::Dialing { dial, .. } | Self::Outage { dial, .. } => {
                Wake::Dialed(Box::new(dial.await))
            }
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_lasts_ends_the_row() {
        let mut lived = ShortLived::new();
        for row in 0..4 {
            assert_eq!(lived.lost(), row);
            // The outage itself is no life.
            tokio::time::advance(2 * LONGEST_WAIT).await;
            lived.came_back();
        }
        tokio::time::advance(2 * LONGEST_WAIT).await;
        assert_eq!(lived.lost(), 0);
    }
}
