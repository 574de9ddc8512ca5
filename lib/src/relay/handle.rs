//! What a program holds of its relay.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::nats::{AuthenticationError, Registry, ServerList, ServerListError};
use crate::relay::admission::Stage;
use crate::relay::listener::{self, Door, ListenError};
use crate::relay::report::{Board, RelayReport};
use crate::relay::settings::RelaySettings;
use crate::relay::shared::Shared;
use crate::store::Store;

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The servers make no sense. Fix the URLs.
    #[error(transparent)]
    Servers(#[from] ServerListError),
    /// The credentials for clients without their own cannot be used. Fix them.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A relay that serves. Dropping it closes its port and its clients at once; see [`Relay::drain`].
pub struct Relay {
    address: SocketAddr,
    board: Arc<Board>,
    stage: watch::Sender<Stage>,
    door: Mutex<Option<JoinHandle<bool>>>,
    /// Closed when the task has ended, however it did.
    alive: watch::Receiver<()>,
    abort: tokio::task::AbortHandle,
}

impl Relay {
    pub(crate) async fn start(
        store: Arc<Store>,
        servers: ServerList,
        settings: RelaySettings,
        board: Arc<Board>,
        registry: &Arc<Registry>,
    ) -> Result<Self, RelayError> {
        if let Some(held) = &settings.upstream.authentication {
            held.validate()?;
        }
        let listener = listener::bind(&settings).await?;
        let address = settings.listen;
        let address = listener
            .local_addr()
            .map_err(|source| ListenError::Refused { address, source })?;
        info!(
            %address, %servers, rotation = settings.rotation.as_str(),
            sessions = settings.limits.sessions, credentials = settings.local.is_some(),
            "relay: listening"
        );
        board.listens(address);
        let shared = Shared::new(store, servers, settings, board, registry);
        Ok(Self::serve(listener, address, Arc::new(shared)))
    }

    pub(super) fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) -> Self {
        let stage = watch::Sender::new(Stage::Serving);
        let board = Arc::clone(&shared.board);
        let door = Door {
            listener,
            shared,
            stage: stage.clone(),
        };
        let (life, alive) = watch::channel(());
        let door = tokio::spawn(async move {
            let _life = life;
            door.serve().await
        });
        Self {
            address,
            board,
            stage,
            abort: door.abort_handle(),
            door: Mutex::new(Some(door)),
            alive,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The sums of all relays of the manager.
    #[must_use]
    pub fn report(&self) -> RelayReport {
        self.board.report_of(Some(self.address))
    }

    /// Resolves once nobody is served any more: after a drain, or by a bug.
    pub async fn ended(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Takes no more clients, asks those that are there to leave, and closes what is left after the
    /// drain limit of the settings. Returns whether all had left before; true too if it was drained
    /// already.
    ///
    /// # Cancel safety
    /// The relay goes on draining; a second call does not wait for it.
    pub async fn drain(&self) -> bool {
        self.stage.send_if_modified(|stage| {
            let begins = *stage == Stage::Serving;
            if begins {
                *stage = Stage::Draining;
            }
            begins
        });
        let door = self
            .door
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let by_itself = match door {
            Some(door) => door.await.unwrap_or(false),
            None => true,
        };
        self.board.listens_no_more(self.address);
        by_itself
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The task owns the sessions, and aborts them when it goes.
        self.abort.abort();
        self.board.listens_no_more(self.address);
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
