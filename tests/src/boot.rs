//! A start without NATS: what a service or an agent finds when it is there first.

use anyhow::Result;
use nats_mtls::CertificateManager;

use crate::agent::AgentCommand;
use crate::doorman::Doorman;
use crate::files::{Contents, KubernetesVolume};
use crate::pki::{Authority, LeafSpec};
use crate::server::{NatsServer, ServerSettings};
use crate::service::{self, NAME};

/// Files that are good, and servers of three kinds that will not do.
pub struct Boot {
    /// Issued the files and the servers' certificates.
    pub authority: Authority,
    /// The files.
    pub volume: KubernetesVolume,
    /// Hangs up, and counts.
    pub doorman: Doorman,
    /// Trusts another CA.
    pub stranger: NatsServer,
    /// Ours, and not running.
    pub down: NatsServer,
}

impl Boot {
    /// Starts what runs.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let leaf = authority.issue(&LeafSpec::client(NAME));
        let volume = KubernetesVolume::new(&Contents::new(&leaf, &authority.root_pem()))?;
        let down = NatsServer::start(ServerSettings::new(&authority)).await?;
        down.stop().await?;
        let others = Authority::new("somebody else").root_pem();
        let stranger = ServerSettings::new(&authority).with_client_roots(&others);
        Ok(Self {
            volume,
            doorman: Doorman::start().await?,
            stranger: NatsServer::start(stranger).await?,
            down,
            authority,
        })
    }

    /// A manager over the files that expects a connection.
    ///
    /// # Errors
    /// When the files are not taken.
    pub async fn manager(&self) -> Result<CertificateManager> {
        let builder = service::builder(&self.volume).expect_connection();
        Ok(builder.build().await?)
    }

    /// The three servers, as a list of URLs.
    #[must_use]
    pub fn all(&self) -> String {
        [self.doorman.url(), self.stranger.url(), self.down.url()].join(",")
    }

    /// `nats-mtls-agent run` over the files.
    pub fn agent(&self, servers: &str) -> AgentCommand {
        AgentCommand::new("run")
            .volume(&self.volume)
            .flag("--server", servers)
    }
}
