//! What nats-server says about its clients: the oracle. If it shows the new certificate, the
//! rotation happened; nothing else counts.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::http;
use crate::server::NatsServer;
use crate::wait::eventually;

/// The answer to `/connz?auth=1`.
#[derive(Debug, Clone, Deserialize)]
pub struct Connections {
    /// The clients, oldest first.
    pub connections: Vec<Connection>,
    /// How many there are.
    pub total: usize,
}

/// One client as the server sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct Connection {
    /// The server's number for it; grows, never used twice by one server process.
    pub cid: u64,
    /// The name from its CONNECT, or nothing.
    #[serde(default)]
    pub name: String,
    /// Its address.
    pub ip: String,
    /// Its port.
    pub port: u16,
    /// `1.2` or `1.3`.
    #[serde(default)]
    pub tls_version: String,
    /// The chain it presented, leaf first.
    #[serde(default)]
    pub tls_peer_certs: Vec<PeerCertificate>,
    /// Whether TLS came before INFO.
    #[serde(default)]
    pub tls_first: bool,
    /// The user it was mapped to, or a word on how it logged in.
    #[serde(default)]
    pub authorized_user: String,
    /// How many subscriptions it has.
    #[serde(default)]
    pub subscriptions: u32,
    /// Why it was closed; only among [`NatsServer::closed_connections`].
    #[serde(default)]
    pub reason: String,
}

/// A certificate as the server prints it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PeerCertificate {
    /// The distinguished name.
    #[serde(default)]
    pub subject: String,
    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex.
    #[serde(default)]
    pub spki_sha256: String,
    /// SHA-256 of the certificate, lower-case hex.
    #[serde(default)]
    pub cert_sha256: String,
}

impl Connection {
    /// SHA-256 of the leaf it presented.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.tls_peer_certs
            .first()
            .map(|certificate| certificate.cert_sha256.as_str())
    }
}

impl NatsServer {
    /// All clients that are connected now.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connections(&self) -> Result<Vec<Connection>> {
        self.ask("/connz?auth=1&limit=10000&sort=cid").await
    }

    /// The clients that have gone, with the server's reason.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn closed_connections(&self) -> Result<Vec<Connection>> {
        self.ask("/connz?auth=1&limit=10000&state=closed").await
    }

    /// The newest connection of that name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connection(&self, name: &str) -> Result<Option<Connection>> {
        let mut connections = self.connections().await?;
        connections.retain(|connection| connection.name == name);
        Ok(connections
            .into_iter()
            .max_by_key(|connection| connection.cid))
    }

    /// SHA-256 of the leaf that the newest connection of that name presented.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn certificate_of(&self, name: &str) -> Result<Option<String>> {
        let connection = self.connection(name).await?;
        Ok(connection.and_then(|connection| connection.fingerprint().map(str::to_owned)))
    }

    /// Waits until every connection of that name, and at least one, shows this fingerprint, and
    /// returns the newest.
    ///
    /// # Errors
    /// When that has not happened after `deadline`; says what the server shows instead.
    pub async fn sees(
        &self,
        name: &str,
        fingerprint: &str,
        deadline: Duration,
    ) -> Result<Connection> {
        let what = format!("nats-server shows {fingerprint} for {name}");
        eventually(deadline, &what, || async {
            let mut all = self.connections().await?;
            all.retain(|connection| connection.name == name);
            ensure!(
                all.iter().all(|one| one.fingerprint() == Some(fingerprint)),
                "it shows {:?}",
                all.iter().map(Connection::fingerprint).collect::<Vec<_>>()
            );
            Ok(all.pop())
        })
        .await
    }

    async fn ask(&self, path: &str) -> Result<Vec<Connection>> {
        let answer: Connections = http::get(&self.monitoring_url(path)).await?.json()?;
        Ok(answer.connections)
    }
}
