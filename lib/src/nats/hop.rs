//! A client that goes to its servers through a relay of this process: what the relay tells of the
//! connection beyond it, and the handle by which both end together.
//!
//! Owns where the two meet. Must not know how a relay works.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ServerAddr};
use tokio::sync::{mpsc, watch};

use crate::nats::arrival::Place;
use crate::nats::authentication::Secret;
use crate::nats::failure::Failure;
use crate::nats::passes::Pass;
use crate::nats::totals::FailedAttempts;
use crate::nats::way::Finished;
use crate::nats::wires::Wires;
use crate::tls::Wire;

const PASS_CAPACITY: usize = 16;
/// For a client whose handle was dropped to say its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the client's side may ask of its relay. Dropping it closes the relay's port and its
/// client.
pub(crate) trait PrivateRelay: Send + Sync {
    /// Makes sure that a client that comes now can be told of a server.
    fn prepare(&self) -> Prepared<'_>;

    /// Takes no more clients and waits, within limits, until everything was passed on.
    fn finish(&self) -> Finished;
}

pub(crate) type Prepared<'a> = Pin<Box<dyn Future<Output = Result<(), Pass>> + Send + 'a>>;

/// What is known of the connection between a relay and a server.
#[derive(Clone, Default)]
pub(crate) struct FarEnd {
    /// None while there is none.
    pub(crate) up: Option<(Place, Wire)>,
    /// How often it was made after there was none.
    pub(crate) connects: u64,
    /// How often another one took its place, and nothing was lost.
    pub(crate) moves: u64,
    /// The certificate is about to expire and the move did not succeed: the relay will close the
    /// client's connection, so that it is made again.
    pub(crate) leaves: bool,
    /// Why the last move did not succeed.
    pub(crate) trouble: Option<String>,
    /// The client of the relay that this is about; the latest.
    client: u64,
}

/// The relay's pen.
pub(crate) struct FarWriter {
    far: watch::Sender<FarEnd>,
    passes: mpsc::Sender<Pass>,
    failed: Arc<Mutex<FailedAttempts>>,
    over: Arc<AtomicBool>,
}

impl FarWriter {
    /// Every server failed, in one pass.
    pub(crate) fn failed(&self, mut pass: Pass) {
        // A client that was to be moved is where it was.
        pass.came_up = self.far.borrow().up.is_some();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, failure) in &pass.failures {
            failed.count(failure.kind);
        }
        drop(failed);
        // The next pass tells it again.
        self.passes.try_send(pass).ok();
    }

    /// A client was connected to a server, for as long as the guard lives.
    pub(crate) fn came_up(self: &Arc<Self>, place: Place, wire: Wire) -> FarClient {
        let mut client = 0;
        self.far.send_modify(|far| {
            far.client += 1;
            client = far.client;
            far.comes_up(place, wire);
        });
        FarClient {
            writer: Arc::clone(self),
            client,
        }
    }
}

impl Drop for FarWriter {
    fn drop(&mut self) {
        // There is no relay any more. Whoever listens at its address now is somebody else.
        self.over.store(true, Relaxed);
    }
}

impl FarEnd {
    fn comes_up(&mut self, place: Place, wire: Wire) {
        self.connects += 1;
        self.arrives(place, wire);
    }

    fn arrives(&mut self, place: Place, wire: Wire) {
        self.up = Some((place, wire));
        self.leaves = false;
        self.trouble = None;
    }
}

/// One client of the relay. A client that was followed by another one says nothing any more.
pub(crate) struct FarClient {
    writer: Arc<FarWriter>,
    client: u64,
}

impl FarClient {
    fn write(&self, change: impl FnOnce(&mut FarEnd)) {
        self.writer.far.send_if_modified(|far| {
            let is_latest = far.client == self.client;
            if is_latest {
                change(far);
            }
            is_latest
        });
    }

    /// Another connection took the place of the one in use.
    pub(crate) fn moved(&self, place: Place, wire: Wire) {
        self.write(|far| {
            far.moves += 1;
            far.arrives(place, wire);
        });
    }

    /// The move was given up; the connection in use stays.
    pub(crate) fn did_not_move(&self, trouble: String) {
        self.write(|far| far.trouble = Some(trouble));
    }

    /// The client is going to be closed for the sake of the certificate.
    pub(crate) fn leaves(&self) {
        self.write(|far| far.leaves = true);
    }

    /// The server is gone; the client waits.
    pub(crate) fn went_down(&self) {
        self.write(|far| far.up = None);
    }

    /// A server is there again.
    pub(crate) fn came_back(&self, place: Place, wire: Wire) {
        self.write(|far| far.comes_up(place, wire));
    }
}

impl Drop for FarClient {
    fn drop(&mut self) {
        self.went_down();
    }
}

/// What is seen through the relay.
pub(crate) struct FarReader {
    far: watch::Receiver<FarEnd>,
    passes: mpsc::Receiver<Pass>,
    failed: Arc<Mutex<FailedAttempts>>,
    over: Arc<AtomicBool>,
}

/// Both ends of what a relay tells of its servers.
pub(crate) fn far_end() -> (FarWriter, FarReader) {
    let (far, far_reader) = watch::channel(FarEnd::default());
    let (passes, pass_reader) = mpsc::channel(PASS_CAPACITY);
    let failed = Arc::<Mutex<FailedAttempts>>::default();
    let over = Arc::<AtomicBool>::default();
    let reader = FarReader {
        far: far_reader,
        passes: pass_reader,
        failed: Arc::clone(&failed),
        over: Arc::clone(&over),
    };
    let writer = FarWriter {
        far,
        passes,
        failed,
        over,
    };
    (writer, reader)
}

/// A private relay as its one client has it. Dropping it drains that client and ends both.
pub(crate) struct Hop {
    pub(crate) address: ServerAddr,
    /// Only who knows it is let in.
    pub(crate) token: Secret,
    reader: FarReader,
    relay: Option<Arc<dyn PrivateRelay>>,
    client: Option<Client>,
}

impl Hop {
    pub(crate) fn new(
        address: ServerAddr,
        token: Secret,
        reader: FarReader,
        relay: Arc<dyn PrivateRelay>,
    ) -> Self {
        Self {
            address,
            token,
            reader,
            relay: Some(relay),
            client: None,
        }
    }

    pub(crate) fn over(&self) -> &Arc<AtomicBool> {
        &self.reader.over
    }

    pub(crate) fn far(&self) -> FarEnd {
        self.reader.far.borrow().clone()
    }

    /// Waits until something changed beyond the relay; false once there is no relay.
    pub(crate) async fn changed(&mut self) -> bool {
        self.reader.far.changed().await.is_ok()
    }

    /// As [`PrivateRelay::prepare`].
    ///
    /// # Errors
    /// What each server did.
    pub(crate) async fn prepare(&self) -> Result<(), Pass> {
        match &self.relay {
            Some(relay) => relay.prepare().await,
            None => Ok(()),
        }
    }

    pub(crate) fn finish(&self) -> Option<Finished> {
        self.relay.as_ref().map(|relay| relay.finish())
    }

    /// What the relay tells of passes over the servers that was not heard yet.
    pub(crate) fn failures(&mut self) -> Vec<(String, Failure)> {
        let passes = std::iter::from_fn(|| self.reader.passes.try_recv().ok());
        passes.flat_map(|pass| pass.failures).collect()
    }

    /// The client is `client`, whose own callbacks end in `wires`: what it cannot see of the
    /// servers comes from the relay.
    pub(crate) fn carries(&mut self, client: &Client, wires: &mut Wires) {
        self.client = Some(client.clone());
        // What failed before is known.
        let failed = self.reader.failed.lock();
        *failed.unwrap_or_else(PoisonError::into_inner) = FailedAttempts::default();
        std::mem::swap(&mut self.reader.passes, &mut wires.passes);
        wires.count_with(Arc::clone(&self.reader.failed));
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        let (Some(relay), Some(client)) = (self.relay.take(), self.client.take()) else {
            return;
        };
        let over = Arc::clone(&self.reader.over);
        let farewell = async move {
            let words = async {
                // Fails if it has ended already.
                client.drain().await.ok();
                relay.finish().await;
            };
            tokio::time::timeout(LAST_WORDS, words).await.ok();
            over.store(true, Relaxed);
        };
        // Without a runtime nothing of it runs any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(farewell);
        }
    }
}
