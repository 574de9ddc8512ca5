//! When a session moves: spread over time, a few at once, again after a failure, and in any case
//! before its certificate expires, if that is possible.
//!
//! [`Turn`] decides, for one session, given the time. [`Pace`] is the shell that a session waits
//! at. It must not know how a session moves. A session uses it so, from its own task:
//!
//! ```text
//! let mut pace = pacer.enter(&dialed.wire.snapshot);
//! loop {
//!     select! {
//!         permit = pace.permit(), if idle => {      // cancel safe: keeps its place in the queue
//!             match hand_over(permit.is_forced()).await {
//!                 Ok(new) => pace.moved(permit, &new.wire.snapshot),
//!                 // asked again after a backoff, after the last call too
//!                 Err(_) => pace.failed(permit),
//!             }
//!         }
//!         …traffic…
//!     }
//! }
//! ```
//! A session that cannot be moved at all (a signed nonce) calls `pace.impossible(permit)` and is
//! asked once more, with `is_forced()`, before its certificate expires. One whose client is to
//! reconnect by itself tells it first, calls `pace.told(permit, …)`, and moves with the next permit.

mod turn;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::relay::report::{Behind, Board};
use crate::store::{Generation, Snapshot, Store};

use turn::{Next, Turn};

/// Lets the sessions of one relay move.
#[derive(Clone)]
pub(crate) struct Pacer {
    generation: watch::Receiver<Generation>,
    slots: Arc<Semaphore>,
    spread: Duration,
    board: Arc<Board>,
}

impl Pacer {
    pub(super) fn new(store: &Store, spread: Duration, at_once: usize, board: &Arc<Board>) -> Self {
        Self {
            generation: store.subscribe(),
            slots: Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))),
            spread,
            board: Arc::clone(board),
        }
    }

    /// For a session that came up on `snapshot`.
    pub(crate) fn enter(&self, snapshot: &Snapshot) -> Pace {
        let mut pace = Pace {
            pacer: self.clone(),
            turn: Turn::new(self.spread, snapshot.generation(), retires(snapshot)),
            queued: None,
            behind: None,
        };
        pace.look();
        pace
    }
}

/// When the certificate of `snapshot` ends, on the clock that timers use.
fn retires(snapshot: &Snapshot) -> Instant {
    let remaining = snapshot.material().not_after().duration_since(clock::now());
    // A clock cannot hold every date that a certificate can.
    let far = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    Instant::now() + remaining.unwrap_or_default().min(far)
}

type Queued = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// One session's place in the order of moves.
pub(crate) struct Pace {
    pacer: Pacer,
    turn: Turn,
    /// Kept while the session does other things, so that it does not start again at the end.
    queued: Option<Queued>,
    behind: Option<Behind>,
}

/// Leave to move, until it is dropped.
pub(crate) struct Permit {
    forced: bool,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Permit {
    #[cfg(test)]
    pub(crate) const fn forced() -> Self {
        Self {
            forced: true,
            _slot: None,
        }
    }

    /// Whether this is the last call: the certificate is about to expire, or has expired.
    pub(crate) const fn is_forced(&self) -> bool {
        self.forced
    }
}

impl Pace {
    /// Waits until this session is on an old generation, or was asked to leave its server, and may
    /// move now.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call goes on where this one was dropped.
    pub(crate) async fn permit(&mut self) -> Permit {
        loop {
            self.look();
            match self.turn.poll(Instant::now()) {
                Next::Force => {
                    self.queued = None;
                    return Permit {
                        forced: true,
                        _slot: None,
                    };
                }
                Next::Ask { force_at } => {
                    let slots = &self.pacer.slots;
                    let queued = self.queued.get_or_insert_with(|| {
                        let slots = Arc::clone(slots);
                        Box::pin(async move { slots.acquire_owned().await.ok() })
                    });
                    tokio::select! {
                        slot = queued => {
                            self.queued = None;
                            return Permit { forced: false, _slot: slot };
                        }
                        () = sleep_until(force_at) => {}
                        changed = self.pacer.generation.changed() => ended(changed).await,
                    }
                }
                Next::Wait(until) => {
                    self.queued = None;
                    tokio::select! {
                        () = at(until) => {}
                        changed = self.pacer.generation.changed() => ended(changed).await,
                    }
                }
            }
        }
    }

    /// The session is on `snapshot` now. A newer generation is asked for at once.
    pub(crate) fn moved(&mut self, permit: Permit, snapshot: &Snapshot) {
        drop(permit);
        self.turn
            .handle_moved(snapshot.generation(), retires(snapshot));
        self.look();
    }

    /// The session is still where it was; it is asked again after a backoff.
    pub(crate) fn failed(&mut self, permit: Permit) {
        drop(permit);
        self.turn.handle_failed(Instant::now(), fastrand::f64());
    }

    /// The session cannot be moved: it is asked once more, when its certificate is about to expire.
    pub(crate) fn impossible(&mut self, permit: Permit) {
        drop(permit);
        self.turn.handle_impossible();
    }

    /// The client was told to go; it is asked again after this time.
    pub(crate) fn told(&mut self, permit: Permit, time: Duration) {
        drop(permit);
        self.turn.handle_told(Instant::now() + time);
    }

    /// The server asked its clients to leave: a move is wanted although nothing was published.
    pub(crate) fn leave(&mut self) {
        self.turn.handle_leave(Instant::now(), fastrand::f64());
    }

    fn look(&mut self) {
        let published = *self.pacer.generation.borrow_and_update();
        self.turn
            .handle_published(published, Instant::now(), fastrand::f64());
        if !self.turn.is_behind() {
            self.behind = None;
        } else if self.behind.is_none() {
            self.behind = Some(self.pacer.board.fall_behind());
        }
    }
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The store lives as long as the relay; without it nothing will ever be published.
async fn ended(changed: Result<(), watch::error::RecvError>) {
    if changed.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
