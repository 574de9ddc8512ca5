//! What a Rust service does with the library: a manager over a Kubernetes volume and a connection
//! to a real server, with intervals short enough for tests.

use std::time::Duration;

use anyhow::Result;
use nats_mtls::{CertificateManager, ConnectSettings, Connection, Files, ManagerBuilder};

use crate::files::{Contents, KubernetesVolume, Part};
use crate::pki::{Authority, Identity, LeafSpec};
use crate::server::{NatsServer, ServerSettings};

/// The name of the connection, in the library and on the server.
pub const NAME: &str = "orders";

/// A service, its files and its server.
pub struct Service {
    /// Issues the identities; the server trusts it.
    pub authority: Authority,
    /// What the files hold, as far as [`Service::renew`] and [`Service::write`] changed them.
    pub identity: Identity,
    /// The mounted secret.
    pub volume: KubernetesVolume,
    /// The server.
    pub server: NatsServer,
    /// The library.
    pub manager: CertificateManager,
    /// The managed connection.
    pub connection: Connection,
}

impl Service {
    /// With defaults.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(|server| server, |manager| manager, |settings| settings).await
    }

    /// With changed settings of server, manager and connection.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start_with(
        server: impl FnOnce(ServerSettings) -> ServerSettings,
        manager: impl FnOnce(ManagerBuilder) -> ManagerBuilder,
        settings: impl FnOnce(ConnectSettings) -> ConnectSettings,
    ) -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client(NAME).dns("orders.example.com"));
        let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
        let server = NatsServer::start(server(ServerSettings::new(&authority))).await?;
        let manager = manager(builder(&volume)).build().await?;
        let settings = settings(ConnectSettings::new().component(NAME));
        let connection = manager.connect(server.url(), settings).await?;
        Ok(Self {
            authority,
            identity,
            volume,
            server,
            manager,
            connection,
        })
    }

    /// Renews the leaf on disk, as kubelet does.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn renew(&mut self) -> Result<()> {
        let next = self.authority.renew(&self.identity);
        self.write(next)
    }

    /// Writes another identity, with the current authority's root.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write(&mut self, identity: Identity) -> Result<()> {
        self.volume
            .update(&Contents::new(&identity, &self.authority.root_pem()))?;
        self.identity = identity;
        Ok(())
    }

    /// The active generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.manager.snapshot().generation().number()
    }
}

/// A manager over `volume` that reacts fast.
pub fn builder(volume: &KubernetesVolume) -> ManagerBuilder {
    CertificateManager::builder()
        .files(files(volume))
        .poll_interval(Duration::from_millis(250))
        .settle(Duration::from_millis(500))
        .spread(Duration::ZERO)
}

/// The files of a mounted secret.
pub fn files(volume: &KubernetesVolume) -> Files {
    Files::new(
        volume.path(Part::Certificate),
        volume.path(Part::Key),
        volume.path(Part::Roots),
    )
}
