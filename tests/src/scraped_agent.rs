//! An agent with a relay, its server, and a Prometheus that scrapes the agent and evaluates the shipped rules,
//! shortened by a factor: a minute of theirs is a second here if the factor is 60.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::agent::{Agent, AgentCommand};
use crate::files::{Contents, PlainFiles};
use crate::pki::{Authority, Identity, LeafSpec};
use crate::prometheus::{Prometheus, PrometheusSettings, rule_file, shipped, shorten};
use crate::server::{NatsServer, ServerSettings};
use crate::wait::{PATIENCE, eventually};

/// The name of the agent's own connection, on the server and in metrics.
pub const COMPONENT: &str = "nats-mtls-agent";

/// Recommended in the runbook.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(30);
/// The default of Prometheus.
const LOOKBACK: Duration = Duration::from_secs(300);

/// What is watched, and who watches.
pub struct ScrapedAgent {
    /// The agent.
    pub agent: Agent,
    /// Its server.
    pub server: NatsServer,
    /// The one that scrapes the agent.
    pub prometheus: Prometheus,
    authority: Authority,
    files: PlainFiles,
    factor: u32,
}

impl ScrapedAgent {
    /// Starts all of it, and waits until Prometheus has seen the connection up and every rule has
    /// been evaluated.
    ///
    /// # Errors
    /// When anything does not start, or a rule cannot be evaluated.
    pub async fn start(factor: u32) -> Result<Self> {
        let rules = shorten(&shipped().await?, factor)?;
        let authority = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        let files = PlainFiles::new(&contents(&authority, &identity(&authority)))?;
        let command = AgentCommand::new("run")
            .plain_files(&files)
            .flag("--server", server.url())
            .flag("--settle", "1s")
            .flag("--spread", "0s")
            .flag("--listen", "127.0.0.1:0")
            .http()?;
        let target = command.http_address()?;
        let agent = command.start().await?;
        let prometheus = Prometheus::start(PrometheusSettings {
            target: Some(target),
            interval: SCRAPE_INTERVAL / factor,
            lookback: LOOKBACK / factor,
            rules: rule_file(&rules),
        })
        .await?;
        let scraped = Self {
            agent,
            server,
            prometheus,
            authority,
            files,
            factor,
        };
        scraped.is_seen().await?;
        Ok(scraped)
    }

    /// As long as that is in the shortened world.
    #[must_use]
    pub fn shortened(&self, time: Duration) -> Duration {
        time / self.factor
    }

    /// Renews the agent's leaf on disk, and waits until the server shows it.
    ///
    /// # Errors
    /// When it does not.
    pub async fn rotate(&self) -> Result<()> {
        let next = identity(&self.authority);
        self.files.rename_over(&contents(&self.authority, &next))?;
        let shown = self.server.sees(COMPONENT, next.fingerprint(), PATIENCE);
        shown.await.map(|_| ())
    }

    /// Waits until the server shows the agent's connection.
    ///
    /// # Errors
    /// When it does not.
    pub async fn is_connected(&self) -> Result<()> {
        eventually(PATIENCE, "the server shows the agent", || async {
            Ok(self.server.connection(COMPONENT).await?.map(|_| ()))
        })
        .await
    }

    /// The names of the alerts that fire now.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn firing(&self) -> Result<Vec<String>> {
        let mut alerts = self.prometheus.alerts().await?;
        alerts.retain(|alert| alert.is_firing());
        Ok(alerts.iter().map(|alert| alert.name().to_owned()).collect())
    }

    async fn is_seen(&self) -> Result<()> {
        self.is_connected().await?;
        // The first scrape may be as far away as an interval.
        let deadline = PATIENCE + self.shortened(SCRAPE_INTERVAL) * 4;
        eventually(
            deadline,
            "Prometheus sees it and every rule works",
            || async {
                let up = self.prometheus.number("nats_mtls_connection_up").await?;
                ensure!(up == Some(1.0), "connection_up is {up:?}");
                for rule in self
                    .prometheus
                    .rules()
                    .await?
                    .iter()
                    .flat_map(|group| &group.rules)
                {
                    ensure!(rule.health == "ok", "{}: {:?}", rule.name, rule.last_error);
                }
                Ok(Some(()))
            },
        )
        .await
    }
}

fn identity(authority: &Authority) -> Identity {
    authority.issue(&LeafSpec::client("agent"))
}

fn contents(authority: &Authority, identity: &Identity) -> Contents {
    Contents::new(identity, &authority.root_pem())
}
