//! The instances: two agents as processes, then one Rust service on the library, and so on. Each
//! has a Kubernetes volume of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{CertificateManager, ConnectSettings, Connection};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::cluster::Cluster;
use super::view::Laggard;
use crate::agent::{Agent, AgentCommand};
use crate::files::{Contents, KubernetesVolume};
use crate::pki::{Authority, Identity, LeafSpec};
use crate::service;
use crate::wait::{PATIENCE, eventually};

/// The client that nobody knows of.
const FORGOTTEN: &str = "batch-job";

pub(super) struct Wanted {
    pub(super) pods: u32,
    /// Beside them a client that is in no wave.
    pub(super) forgotten: bool,
}

pub(super) struct Fleet {
    pub(super) instances: Vec<Instance>,
    _forgotten: Option<Instance>,
}

pub(super) struct Instance {
    pub(super) name: String,
    pub(super) identity: Identity,
    /// What it was given to trust.
    roots: String,
    volume: KubernetesVolume,
    kind: Kind,
    /// How much of its log was looked at.
    read: usize,
}

enum Kind {
    Agent(Agent),
    Service {
        manager: CertificateManager,
        // Dropping it would close the connection.
        _connection: Connection,
    },
}

impl Fleet {
    pub(super) async fn start(wanted: &Wanted, cluster: &Cluster) -> Result<Self> {
        let mut instances = Vec::new();
        for number in 1..=wanted.pods {
            let instance = if number % 3 == 0 {
                Instance::service(&format!("service-{number}"), cluster).await?
            } else {
                Instance::agent(&format!("agent-{number}"), cluster).await?
            };
            instances.push(instance);
        }
        let mut forgotten = None;
        if wanted.forgotten {
            forgotten = Some(Instance::service(FORGOTTEN, cluster).await?);
        }
        for instance in &instances {
            let what = format!("{} is ready", instance.name);
            eventually(PATIENCE, &what, || async {
                Ok((instance.status().await?["ready"] == true).then_some(()))
            })
            .await?;
        }
        Ok(Self {
            instances,
            _forgotten: forgotten,
        })
    }

    /// The first agent of the second half: somebody whose turn comes neither first nor last.
    pub(super) fn victim(&self) -> usize {
        let is_agent = |index: &usize| {
            let instance = self.instances.get(*index);
            instance.is_some_and(|instance| matches!(instance.kind, Kind::Agent(_)))
        };
        let count = self.instances.len();
        (count / 2..count).find(is_agent).unwrap_or_default()
    }

    pub(super) fn named(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.instances.iter().map(|instance| &*instance.name);
        names.collect()
    }
}

impl Instance {
    async fn agent(name: &str, cluster: &Cluster) -> Result<Self> {
        let (identity, roots, volume) = mount(name, &cluster.old)?;
        let agent = AgentCommand::new("run")
            .volume(&volume)
            .flag("--server", cluster.urls())
            .flag("--component", name)
            .flag("--log-format", "json")
            .flag("--poll-interval", "1s")
            .flag("--settle", "1s")
            .flag("--spread", "100ms")
            .http()?
            .start()
            .await?;
        Ok(Self {
            name: name.to_owned(),
            identity,
            roots,
            volume,
            kind: Kind::Agent(agent),
            read: 0,
        })
    }

    async fn service(name: &str, cluster: &Cluster) -> Result<Self> {
        let (identity, roots, volume) = mount(name, &cluster.old)?;
        let manager = service::builder(&volume).build().await?;
        let settings = ConnectSettings::new().component(name);
        let connection = manager.connect(cluster.urls(), settings).await?;
        Ok(Self {
            name: name.to_owned(),
            identity,
            roots,
            volume,
            kind: Kind::Service {
                manager,
                _connection: connection,
            },
            read: 0,
        })
    }

    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Agent(_) => "agent",
            Kind::Service { .. } => "service",
        }
    }

    /// Publishes into its volume, as kubelet does.
    pub(super) fn publish(&mut self, identity: Identity, roots: &str) -> Result<()> {
        self.volume.update(&Contents::new(&identity, roots))?;
        self.identity = identity;
        roots.clone_into(&mut self.roots);
        Ok(())
    }

    /// Publishes a certificate with the key of another.
    pub(super) fn publish_mismatched(&mut self, identity: Identity, roots: &str) -> Result<()> {
        let mismatched = Contents {
            key: self.identity.key_pem().to_owned(),
            ..Contents::new(&identity, roots)
        };
        self.volume.update(&mismatched)?;
        self.identity = identity;
        Ok(())
    }

    pub(super) fn roots(&self) -> &str {
        &self.roots
    }

    pub(super) async fn freeze(&self) -> Result<()> {
        match &self.kind {
            Kind::Agent(agent) => agent.process().freeze().await,
            Kind::Service { .. } => anyhow::bail!("{} is not a process", self.name),
        }
    }

    /// What it says of itself.
    pub(super) async fn status(&self) -> Result<Value> {
        match &self.kind {
            Kind::Agent(agent) => agent.status().await,
            Kind::Service { manager, .. } => Ok(serde_json::to_value(manager.status())?),
        }
    }

    /// Whether it says the same as the servers: this certificate, on the connection too.
    pub(super) async fn agrees(&self) -> Result<()> {
        let status = self.status().await?;
        let claimed = &status["active"]["leaf"]["fingerprint_sha256"];
        ensure!(
            claimed == self.identity.fingerprint(),
            "it says that {claimed} is active"
        );
        let generation = &status["connections"][0]["generation"];
        ensure!(
            generation == &status["generation"],
            "it says that generation {} is active and {generation} on the wire",
            status["generation"]
        );
        Ok(())
    }

    /// In its own words, why it did not move.
    pub(super) async fn excuse(&self) -> String {
        let asked = tokio::time::timeout(Duration::from_secs(1), self.status()).await;
        let Ok(Ok(status)) = asked else {
            return "it does not answer".to_owned();
        };
        let disk = &status["disk"];
        let mut excuse = format!("its files are {}", disk["verdict"].as_str().unwrap_or("?"));
        for part in [&disk["reason"], &disk["detail"]] {
            if let Some(part) = part.as_str() {
                excuse = format!("{excuse}: {part}");
            }
        }
        excuse
    }

    /// How many of the roots it trusts are this one.
    pub(super) async fn trusts(&self, root: &Authority) -> Result<bool> {
        let status = self.status().await?;
        let fingerprint = fingerprint(&root.root_pem())?;
        let roots = status["active"]["roots"].as_array();
        let roots = roots.context("it has no active roots")?;
        Ok(roots
            .iter()
            .any(|trusted| trusted["fingerprint_sha256"] == *fingerprint))
    }

    /// What it complained about since it was asked last. A service in this process has no log of
    /// its own; its status keeps its last rejection.
    pub(super) async fn complaints(&mut self) -> Result<Vec<Laggard>> {
        let lines = match &self.kind {
            Kind::Agent(agent) => {
                let log = agent.stderr();
                let whole = log.rfind('\n').map_or(0, |end| end + 1);
                let news = log.get(self.read..whole).unwrap_or_default().to_owned();
                self.read = whole;
                news.lines().filter_map(complaint).collect()
            }
            Kind::Service { manager, .. } => {
                let rejection = manager.status().last_rejection;
                let lines = rejection.map(|rejection| format!("rejected: {}", rejection.detail));
                Vec::from_iter(lines)
            }
        };
        let laggards = lines.into_iter().map(|line| Laggard::new(&self.name, line));
        Ok(laggards.collect())
    }
}

fn mount(name: &str, authority: &Authority) -> Result<(Identity, String, KubernetesVolume)> {
    let identity = authority.issue(&LeafSpec::client(name).dns(&format!("{name}.example.com")));
    let roots = authority.root_pem();
    let volume = KubernetesVolume::new(&Contents::new(&identity, &roots))?;
    Ok((identity, roots, volume))
}

/// What a line of the log complains about. A line that is not JSON counts too: a panic, for example.
fn complaint(line: &str) -> Option<String> {
    let Ok(parsed) = serde_json::from_str::<Value>(line) else {
        return Some(line.to_owned());
    };
    let level = parsed["level"].as_str().unwrap_or_default();
    if matches!(level, "INFO" | "DEBUG" | "TRACE") {
        return None;
    }
    let parts = ["message", "reason", "detail", "error"];
    let parts: Vec<_> = parts
        .iter()
        .filter_map(|part| parsed[part].as_str())
        .collect();
    Some(format!("{level} {}", parts.join(": ")))
}

/// SHA-256 of a certificate, as the status prints it.
fn fingerprint(pem: &str) -> Result<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let digest = Sha256::digest(&certificate);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
