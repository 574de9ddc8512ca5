//! The face of the library: wires the layers and owns the tasks. Decides nothing itself.

mod builder;
mod metrics;
mod status;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

pub use builder::{BuildError, ManagerBuilder};
pub use status::StatusHandle;

use crate::nats::{
    self, ConnectSettings, Connection, ConnectionError, IntoServerList, Registry, ServerList,
    Shared, Way,
};
#[cfg(feature = "relay")]
use crate::relay::{self, Relay, RelayError, RelaySettings};
#[cfg(feature = "relay")]
use crate::reload::Command;
use crate::reload::ReloadOutcome;
use crate::report::Status;
use crate::store::{Generation, Snapshot};
use crate::tls::{Connector, SerialConfig, ServerNames};

/// Keeps one set of certificate, key and roots fresh, and every connection made through it.
///
/// Cheap to clone. The tasks end when the last clone and the last [`Connection`] are dropped.
///
/// # More than one manager in a process
/// works, with one exception: the metrics. Those of connections are told apart by `component`, which
/// must then differ between managers too. Those of certificates and reloads (generation, expiry,
/// last reload, ...) have no label that names a manager, so the managers would overwrite each
/// other's, and an alert would see now the one, now the other. Alert on metrics where a process has
/// one manager; with several, ask each one's [`CertificateManager::status`].
#[derive(Clone)]
pub struct CertificateManager {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    registry: Arc<Registry>,
    status: StatusHandle,
}

impl CertificateManager {
    /// A manager's settings, to be filled in.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::new()
    }

    /// Connects to NATS with the active material and keeps the connection on it: every later
    /// generation is asked about at these servers first, then the connection is moved onto it.
    ///
    /// # Errors
    /// [`ConnectionError`]; while no server accepts, the startup policy of `settings` decides
    /// whether and how long to go on.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn connect(
        &self,
        servers: impl IntoServerList,
        settings: ConnectSettings,
    ) -> Result<Connection, ConnectionError> {
        let servers = servers.into_server_list()?;
        let way = self.way(&servers, &settings).await?;
        let Inner {
            shared, registry, ..
        } = &*self.inner;
        nats::connect(shared, registry, servers, settings, way).await
    }

    #[cfg(feature = "relay")]
    async fn way(
        &self,
        servers: &ServerList,
        settings: &ConnectSettings,
    ) -> Result<Way, ConnectionError> {
        let shared = &self.inner.shared;
        if !settings.handover {
            return Way::direct(shared, servers, settings);
        }
        let store = Arc::clone(&shared.store);
        let board = Arc::clone(&self.inner.status.shared.relays);
        let hop = relay::open_private(store, servers.clone(), settings.clone(), board).await?;
        Ok(Way::Relayed(hop))
    }

    #[cfg(not(feature = "relay"))]
    #[expect(clippy::unused_async, reason = "with the feature it waits")]
    async fn way(
        &self,
        servers: &ServerList,
        settings: &ConnectSettings,
    ) -> Result<Way, ConnectionError> {
        Way::direct(&self.inner.shared, servers, settings)
    }

    /// Opens a relay: clients of any language connect to it in plain text and reach `servers` over
    /// mutual TLS with the active material, and stay connected while that changes. Its servers are
    /// asked about new material, as those of a connection are.
    ///
    /// # Errors
    /// [`RelayError`]: the servers or credentials make no sense, or it cannot listen. Servers that
    /// cannot be reached are no error: clients are told so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    #[cfg(feature = "relay")]
    pub async fn relay(
        &self,
        servers: impl IntoServerList,
        settings: RelaySettings,
    ) -> Result<Relay, RelayError> {
        let store = Arc::clone(&self.inner.shared.store);
        let board = Arc::clone(&self.inner.status.shared.relays);
        let registry = &self.inner.registry;
        let servers = servers.into_server_list()?;
        let relay = Relay::start(store, servers, settings, board, registry).await?;
        // A candidate that waits for a server to ask has one now.
        self.inner.shared.commands.try_send(Command::NewServer).ok();
        Ok(relay)
    }

    /// For clients that can take a fresh configuration per connection: a tokio-rustls connector
    /// whose every connection uses the snapshot that is active when it starts.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::new(Arc::clone(&self.inner.shared.store))
    }

    /// For *one* client that takes one `rustls::ClientConfig` for life and makes one handshake at
    /// a time. `names` says which names a server may carry.
    ///
    /// # Errors
    /// When rustls has no protocol version in common with the crypto provider.
    pub fn serial_client_config(&self, names: ServerNames) -> Result<SerialConfig, rustls::Error> {
        let shared = &self.inner.shared;
        SerialConfig::new(Arc::clone(&shared.store), names, shared.versions)
    }

    /// The active snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let active = self.inner.shared.store.active();
        #[expect(
            clippy::expect_used,
            reason = "build() returns after the first publish, and nothing takes a snapshot back"
        )]
        active.expect("a manager has material")
    }

    /// Tells each new generation; look at [`CertificateManager::snapshot`] after a change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Generation> {
        self.inner.shared.store.subscribe()
    }

    /// Judges the source now, without patience for half-written files and without spread, and
    /// waits for the outcome, a preflight included.
    ///
    /// # Errors
    /// [`BuildError::Ended`] if the reload task ended; only a panic in a custom source does that.
    ///
    /// # Cancel safety
    /// Once polled the reload goes on even if the future is dropped.
    pub async fn reload(&self) -> Result<ReloadOutcome, BuildError> {
        builder::reload(&self.inner.shared.commands).await
    }

    /// Everything that is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status.status()
    }

    /// A handle that answers for the probes and the status; it exists before material does.
    #[must_use]
    pub fn status_handle(&self) -> StatusHandle {
        self.inner.status.clone()
    }
}

impl fmt::Debug for CertificateManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateManager")
            .field("active", &self.inner.shared.store.active())
            .finish_non_exhaustive()
    }
}
