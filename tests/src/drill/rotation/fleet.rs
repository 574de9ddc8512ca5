//! The instances: two agents as processes, then one Rust service on the library, and so on. Each
//! has a Kubernetes volume of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::ConnectSettings;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::cluster::Cluster;
use super::hosted::Hosted;
use super::said::Said;
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
    Service(Hosted),
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
        for instance in &mut instances {
            let what = format!("{} is ready", instance.name);
            eventually(PATIENCE, &what, || async {
                Ok((instance.status().await?["ready"] == true).then_some(()))
            })
            .await?;
            // Of the start.
            instance.listen();
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
        let settings = ConnectSettings::new().component(name);
        let builder = service::builder(&volume);
        let service = Hosted::start(builder, cluster.urls(), settings).await?;
        Ok(Self {
            name: name.to_owned(),
            identity,
            roots,
            volume,
            kind: Kind::Service(service),
            read: 0,
        })
    }

    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Agent(_) => "agent",
            Kind::Service(_) => "service",
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
            Kind::Service(_) => anyhow::bail!("{} is not a process", self.name),
        }
    }

    /// What it says of itself.
    pub(super) async fn status(&self) -> Result<Value> {
        match &self.kind {
            Kind::Agent(agent) => agent.status().await,
            Kind::Service(service) => Ok(serde_json::to_value(service.status.status())?),
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

    /// What it logged since it was listened to last.
    pub(super) fn said(&self) -> Said {
        self.since(self.read).0
    }

    /// The same, and from now on only what comes after counts.
    pub(super) fn listen(&mut self) -> Said {
        let (said, read) = self.since(self.read);
        self.read = read;
        said
    }

    /// Up to the end of the last whole line.
    fn since(&self, begin: usize) -> (Said, usize) {
        let log = self.log();
        let end = log.rfind('\n').map_or(0, |end| end + 1);
        (Said::of(log.get(begin..end).unwrap_or_default()), end)
    }

    fn log(&self) -> String {
        match &self.kind {
            Kind::Agent(agent) => agent.stderr(),
            Kind::Service(service) => service.log(),
        }
    }
}

fn mount(name: &str, authority: &Authority) -> Result<(Identity, String, KubernetesVolume)> {
    let identity = authority.issue(&LeafSpec::client(name).dns(&format!("{name}.example.com")));
    let roots = authority.root_pem();
    let volume = KubernetesVolume::new(&Contents::new(&identity, &roots))?;
    Ok((identity, roots, volume))
}

/// SHA-256 of a certificate, as the status prints it.
fn fingerprint(pem: &str) -> Result<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let digest = Sha256::digest(&certificate);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
