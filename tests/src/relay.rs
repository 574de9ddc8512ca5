//! An agent that relays, its files, and where nats-server sees its sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::agent::{Agent, AgentCommand};
use crate::files::{Contents, KubernetesVolume};
use crate::load::Endpoint;
use crate::pki::{Authority, Identity, LeafSpec};
use crate::server::NatsServer;
use crate::wait::{PATIENCE, eventually};

/// An agent with `--listen` over a mounted secret.
pub struct Relay {
    /// What the files hold.
    pub identity: Identity,
    /// The running agent.
    pub agent: Agent,
    volume: KubernetesVolume,
    roots: String,
    port: u16,
}

/// Where each session is: its server among those asked, and its number there.
pub type Places = BTreeMap<String, (usize, u64)>;

impl Relay {
    /// Starts an agent for these servers, with an identity of `authority`, and waits until it is
    /// ready. It notices changes at once and spreads nothing.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(
        authority: &Authority,
        servers: &[NatsServer],
        configure: impl FnOnce(AgentCommand) -> AgentCommand,
    ) -> Result<Self> {
        let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
        let identity = authority.issue(&LeafSpec::client("legacy").dns("legacy.example.com"));
        Self::start_with(authority, identity, &urls.join(","), configure).await
    }

    /// The same with an identity of its own, for servers at other places than their own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        authority: &Authority,
        identity: Identity,
        urls: &str,
        configure: impl FnOnce(AgentCommand) -> AgentCommand,
    ) -> Result<Self> {
        let roots = authority.root_pem();
        let volume = KubernetesVolume::new(&Contents::new(&identity, &roots))?;
        let command = AgentCommand::new("run")
            .volume(&volume)
            .flag("--server", urls)
            .flag("--listen", "127.0.0.1:0")
            .flag("--poll-interval", "1s")
            .flag("--settle", "1s")
            .flag("--spread", "0s")
            .http()?;
        let agent = configure(command).start().await?;
        let port = eventually(PATIENCE, "the agent is ready and relays", || async {
            ensure!(agent.process().exit_status()?.is_none(), "it has ended");
            if agent.get("/readyz").await?.status != 200 {
                return Ok(None);
            }
            let status = agent.status().await?;
            let listen = status["relay"]["listen"].as_str();
            let listen = listen.with_context(|| format!("no relay in {status}"))?;
            let port = listen.rsplit(':').next().and_then(|port| port.parse().ok());
            Ok(Some(port.with_context(|| listen.to_owned())?))
        })
        .await?;
        Ok(Self {
            identity,
            agent,
            volume,
            roots,
            port,
        })
    }

    /// For a raw client.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::plain(self.port)
    }

    /// For whoever connects by itself.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// For a client library.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Puts a renewed leaf of `authority` into the files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn renew(&mut self, authority: &Authority) -> Result<()> {
        self.identity = authority.renew(&self.identity);
        self.write()
    }

    /// Puts another identity into the files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn present(&mut self, identity: Identity) -> Result<()> {
        self.identity = identity;
        self.write()
    }

    /// Puts other roots into the files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn trust(&mut self, roots: &str) -> Result<()> {
        roots.clone_into(&mut self.roots);
        self.write()
    }

    /// Waits until each session of these names has exactly one connection, other than in `before`
    /// and with the identity of the files, as the servers themselves say.
    ///
    /// # Errors
    /// When that has not happened after `deadline`; says what they show instead.
    pub async fn moved(
        &self,
        servers: &[NatsServer],
        before: &Places,
        deadline: Duration,
    ) -> Result<Places> {
        let names: Vec<_> = before.keys().cloned().collect();
        eventually(deadline, "every session has moved", || async {
            let now = places(servers, &names, Some(self.identity.fingerprint())).await?;
            for (name, place) in &now {
                ensure!(before.get(name) != Some(place), "{name} is where it was");
            }
            Ok(Some(now))
        })
        .await
        .with_context(|| format!("{:?}", self.identity))
    }

    fn write(&mut self) -> Result<()> {
        let contents = Contents::new(&self.identity, &self.roots);
        self.volume.update(&contents)
    }
}

/// Where the sessions of these names are.
///
/// # Errors
/// When one has no connection, or several, or one with another certificate than `fingerprint`.
pub async fn places(
    servers: &[NatsServer],
    names: &[String],
    fingerprint: Option<&str>,
) -> Result<Places> {
    let mut found = Places::new();
    for (index, server) in servers.iter().enumerate() {
        // One that has ended has no sessions.
        for connection in server.connections().await.unwrap_or_default() {
            if !names.contains(&connection.name) {
                continue;
            }
            let name = connection.name.clone();
            if fingerprint.is_some() && connection.fingerprint() != fingerprint {
                bail!("{name} shows {:?}", connection.fingerprint());
            }
            let place = (index, connection.cid);
            if let Some(other) = found.insert(name.clone(), place) {
                bail!("{name} is at {other:?} and at {place:?}");
            }
        }
    }
    for name in names {
        ensure!(found.contains_key(name), "{name} is nowhere");
    }
    Ok(found)
}
