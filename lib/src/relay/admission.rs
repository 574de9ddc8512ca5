//! One client that was let in: its number, what became of it, and word that the relay ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::watch;

use crate::relay::report::{Board, Presence, SessionResult};

/// The number of a session in the log; per process, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(pub(super) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far the relay's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves.
    Serving,
    /// Clients are asked to leave, and served until they do.
    Draining,
    /// Sessions end at the next boundary between two operations.
    Closing,
}

/// Tells a session that the relay ends.
#[derive(Clone)]
pub(crate) struct Ending(pub(super) watch::Receiver<Stage>);

impl Ending {
    /// Resolves once the relay drains.
    pub(crate) async fn draining(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Resolves once sessions have to end.
    pub(crate) async fn closing(&mut self) {
        self.reached(Stage::Closing).await;
    }

    async fn reached(&mut self, stage: Stage) {
        // A relay that is dropped aborts its sessions, so there is nobody to tell.
        self.0.wait_for(|now| *now >= stage).await.ok();
    }
}

/// One client, counted as long as this lives. What became of it is counted once: by the session,
/// or as [`SessionResult::Left`].
pub(crate) struct Admission {
    pub(crate) id: SessionId,
    pub(crate) peer: SocketAddr,
    pub(crate) ending: Ending,
    board: Arc<Board>,
    accepted: Arc<AtomicUsize>,
    result: Option<SessionResult>,
    _presence: Presence,
}

impl Admission {
    pub(super) fn new(
        id: SessionId,
        peer: SocketAddr,
        ending: Ending,
        board: &Arc<Board>,
        accepted: &Arc<AtomicUsize>,
    ) -> Self {
        Self {
            id,
            peer,
            ending,
            board: Arc::clone(board),
            accepted: Arc::clone(accepted),
            result: None,
            _presence: board.enter(),
        }
    }

    /// The first call counts.
    pub(crate) fn settle(&mut self, result: SessionResult) {
        if self.result.is_none() {
            self.result = Some(result);
            self.board.count_session(result);
            if result == SessionResult::Accepted {
                self.accepted.fetch_add(1, Relaxed);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle(SessionResult::Left);
        if self.result == Some(SessionResult::Accepted) {
            self.accepted.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_counted_once() {
        let board = Arc::new(Board::default());
        let address = "127.0.0.1:4222".parse().unwrap();
        board.listens(address);
        let (_stage, ending) = watch::channel(Stage::Serving);
        let up = Arc::default();
        let admit =
            |id| Admission::new(SessionId(id), address, Ending(ending.clone()), &board, &up);
        let mut accepted = admit(1);
        accepted.settle(SessionResult::Accepted);
        accepted.settle(SessionResult::Timeout);
        let silent = admit(2);
        assert_eq!(board.report().unwrap().sessions, 2);
        assert_eq!(up.load(Relaxed), 1);
        drop((accepted, silent));
        let report = board.report().unwrap();
        assert_eq!((report.sessions, up.load(Relaxed)), (0, 0));
        assert_eq!(report.results_of(SessionResult::Accepted), 1);
        assert_eq!(report.results_of(SessionResult::Left), 1);
        assert_eq!(report.results.iter().sum::<u64>(), 2);
    }
}
