//! The gate that asks the real servers: a full NATS handshake with the candidate, with the
//! caller's own authentication, up to the PONG. In TLS 1.3 a refusal arrives only with the first
//! read, so nothing is believed before that.

use std::sync::Arc;
use std::time::Duration;

use async_nats::ServerAddr;
use futures_util::future::join_all;
use rustls::ClientConfig;
use tracing::debug;

use crate::material::{Material, Reason, Rejection};
use crate::nats::failure::{self, Failure, FailureKind};
use crate::nats::registry::{Registered, Registry};
use crate::nats::servers;
use crate::nats::servers::ServerList;
use crate::nats::settings::ConnectSettings;
use crate::store::{Candidate, Gate, GateAnswer, GateFuture, Snapshot};
use crate::tls::{self, TlsVersions};

/// A server that closes at once after the handshake may have sent an alert that a reset ate:
/// another try usually shows it.
const TRIES_WHEN_CUT_OFF: u32 = 3;

/// Asks every configured server of every registered connection.
pub(crate) struct Preflight {
    registry: Arc<Registry>,
    enabled: bool,
}

/// What one server said.
enum Said {
    Accepted,
    Refused(Reason, String),
    Inconclusive(String),
}

impl Preflight {
    pub(crate) fn new(registry: Arc<Registry>, enabled: bool) -> Self {
        Self { registry, enabled }
    }

    async fn ask_all(&self, candidate: &Candidate, active: &Snapshot) -> GateAnswer {
        if !self.enabled {
            return GateAnswer::NotAsked {
                why: "preflight is switched off",
            };
        }
        let registered = self.registry.all();
        let questions = registered.iter().flat_map(|entry| {
            let addresses = entry.servers.addresses().iter();
            addresses.map(|address| ask_one(entry, address, candidate, active))
        });
        judge(join_all(questions).await)
    }
}

impl Gate for Preflight {
    fn ask<'a>(&'a self, candidate: &'a Candidate, active: &'a Snapshot) -> GateFuture<'a> {
        Box::pin(self.ask_all(candidate, active))
    }
}

/// Any refusal rejects; otherwise one acceptance is enough; otherwise ask again later.
fn judge(answers: Vec<Said>) -> GateAnswer {
    if answers.is_empty() {
        return GateAnswer::NotAsked {
            why: "no server is registered",
        };
    }
    let mut accepted = false;
    let mut inconclusive = Vec::new();
    for said in answers {
        match said {
            Said::Refused(reason, detail) => {
                return GateAnswer::Refused(Rejection::by_server(reason, detail));
            }
            Said::Accepted => accepted = true,
            Said::Inconclusive(detail) => inconclusive.push(detail),
        }
    }
    if accepted {
        GateAnswer::Accepted
    } else {
        GateAnswer::Pending {
            detail: inconclusive.join("; "),
        }
    }
}

async fn ask_one(
    entry: &Registered,
    address: &ServerAddr,
    candidate: &Candidate,
    active: &Snapshot,
) -> Said {
    let probe = |base: Arc<ClientConfig>, material: Arc<Material>| async move {
        let names = entry.settings.names(&entry.servers);
        let config = tls::with_names(&base, &material, names);
        probe(&entry.settings, &entry.servers, address, config).await
    };
    let label = servers::label(address);
    let failure = match probe(candidate.client_config(), Arc::clone(candidate.material())).await {
        Ok(()) => return Said::Accepted,
        Err(failure) => failure,
    };
    debug!(server = label, %failure, "preflight failed");
    let detail = format!("{label}: {failure}");
    match failure.kind {
        FailureKind::CertificateRefused => Said::Refused(Reason::ServerRefused, detail),
        FailureKind::ServerUntrusted => Said::Refused(Reason::ServerUntrusted, detail),
        FailureKind::Authorization => {
            // A user that the active material does not get either says nothing about the candidate.
            match probe(active.client_config(), Arc::clone(active.material())).await {
                Ok(()) => Said::Refused(Reason::ServerRefused, detail),
                Err(_) => Said::Inconclusive(detail),
            }
        }
        FailureKind::Unavailable | FailureKind::PlatformRoots => Said::Inconclusive(detail),
    }
}

/// Asks every server whether it accepts `material`, outside any manager: what a checker needs. With
/// the default TLS versions.
/// Answers in the order of `servers`, each with its `host:port`. All are asked at once, each for
/// about twice the connect timeout at most.
///
/// # Errors
/// When rustls has no protocol version in common with the crypto provider.
///
/// # Cancel safety
/// Dropping the future closes what was opened.
pub async fn preflight(
    material: &Material,
    servers: &ServerList,
    settings: &ConnectSettings,
) -> Result<Vec<(String, Result<(), Failure>)>, rustls::Error> {
    let base = tls::fixed_config(material, TlsVersions::default())?;
    let config = tls::with_names(&base, material, settings.names(servers));
    let questions = servers.addresses().iter().map(async |address| {
        let answer = probe(settings, servers, address, config.clone()).await;
        (servers::label(address), answer)
    });
    Ok(join_all(questions).await)
}

/// One NATS handshake up to the PONG with a fixed configuration; the connection is closed again.
async fn probe(
    settings: &ConnectSettings,
    servers: &ServerList,
    address: &ServerAddr,
    tls: ClientConfig,
) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let options = settings
            .options(servers, tls.clone())
            .map_err(|error| Failure::unavailable(error.to_string()))?
            .name(format!("{} preflight", settings.component))
            .ignore_discovered_servers();
        // The client's own limit leaves out DNS.
        let limit = settings
            .connect_timeout
            .saturating_mul(2)
            .max(Duration::from_secs(1));
        match tokio::time::timeout(limit, options.connect(address)).await {
            Err(_) => return Err(Failure::unavailable("no answer in time")),
            Ok(Ok(_client)) => return Ok(()),
            Ok(Err(error)) if failure::is_cut_off(&error) && tries < TRIES_WHEN_CUT_OFF => {}
            Ok(Err(error)) => return Err(Failure::from_connect_error(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_refusal_rejects_and_one_acceptance_is_enough() {
        let refused = || Said::Refused(Reason::ServerRefused, "a: unknown ca".into());
        let unreachable = || Said::Inconclusive("b: connection refused".into());
        assert_eq!(
            judge(vec![Said::Accepted, unreachable(), refused()]),
            GateAnswer::Refused(Rejection::by_server(Reason::ServerRefused, "a: unknown ca"))
        );
        assert_eq!(
            judge(vec![unreachable(), Said::Accepted]),
            GateAnswer::Accepted
        );
        assert!(matches!(
            judge(vec![unreachable(), unreachable()]),
            GateAnswer::Pending { detail } if detail == "b: connection refused; b: connection refused"
        ));
        assert!(matches!(judge(Vec::new()), GateAnswer::NotAsked { .. }));
    }
}
