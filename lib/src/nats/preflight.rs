//! The gate that asks the real servers: a full NATS handshake with the candidate, with the
//! caller's own authentication, up to the PONG. In TLS 1.3 a refusal arrives only with the first
//! read, so nothing is believed before that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ServerAddr;
use futures_util::future::join_all;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::debug;

use crate::backoff::Backoff;
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
const BETWEEN_TRIES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
/// Handshakes under way at once: a rotation is no reason to storm a server.
const QUESTIONS_AT_ONCE: usize = 8;

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
        let groups = Group::of(&self.registry.all());
        let slots = Semaphore::new(QUESTIONS_AT_ONCE);
        let mut questions = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            for address in group.entry.servers.addresses() {
                let slots = &slots;
                questions.push(async move {
                    // Never closed, so there is always a slot in the end.
                    let _slot = slots.acquire().await.ok();
                    (number, ask_one(group, address, candidate, active).await)
                });
            }
        }
        let answers = join_all(questions).await;
        judge(&groups, answers)
    }
}

impl Gate for Preflight {
    fn ask<'a>(&'a self, candidate: &'a Candidate, active: &'a Snapshot) -> GateFuture<'a> {
        Box::pin(self.ask_all(candidate, active))
    }
}

/// Connections that would ask the same servers the same question: one asks for all.
struct Group {
    entry: Arc<Registered>,
    /// Whether any of them is up, and would be moved.
    is_live: bool,
    /// Whether one of them is a relay, whose clients may have credentials of their own.
    is_relay: bool,
}

impl Group {
    fn of(registered: &[Arc<Registered>]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for entry in registered {
            let (is_live, is_relay) = (entry.is_live(), entry.is_relay());
            match groups.iter_mut().find(|group| group.entry.asks_like(entry)) {
                Some(group) => {
                    group.is_live |= is_live;
                    group.is_relay |= is_relay;
                }
                None => groups.push(Self {
                    entry: Arc::clone(entry),
                    is_live,
                    is_relay,
                }),
            }
        }
        groups
    }
}

/// Any refusal rejects. Every live connection needs an acceptance from one of its own servers:
/// another cluster's yes says nothing about them. Servers that do not answer are ignored beyond
/// that if anybody accepts; otherwise they are asked again later.
fn judge(groups: &[Group], answers: Vec<(usize, Said)>) -> GateAnswer {
    if groups.is_empty() {
        return GateAnswer::NotAsked {
            why: "no server is registered",
        };
    }
    let mut accepted = BTreeSet::new();
    let mut inconclusive = Vec::new();
    for (number, said) in answers {
        match said {
            Said::Refused(reason, detail) => {
                return GateAnswer::Refused(Rejection::by_server(reason, detail));
            }
            Said::Accepted => {
                accepted.insert(number);
            }
            Said::Inconclusive(detail) => inconclusive.push(detail),
        }
    }
    let mut live = groups.iter().enumerate().filter(|(_, group)| group.is_live);
    if !accepted.is_empty() && live.all(|(number, _)| accepted.contains(&number)) {
        GateAnswer::Accepted
    } else {
        GateAnswer::Pending {
            detail: inconclusive.join("; "),
        }
    }
}

async fn ask_one(
    group: &Group,
    address: &ServerAddr,
    candidate: &Candidate,
    active: &Snapshot,
) -> Said {
    let entry = &group.entry;
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
    let reason = match failure.kind {
        FailureKind::CertificateRefused | FailureKind::Authorization => Reason::ServerRefused,
        FailureKind::ServerUntrusted => Reason::ServerUntrusted,
        FailureKind::Unavailable | FailureKind::PlatformRoots => return Said::Inconclusive(detail),
    };
    // What the active material does not get either says nothing about the candidate. TLS refuses
    // it to a live connection only because something changed since; one that never came up must
    // not hold up the others.
    if failure.kind == FailureKind::Authorization || !group.is_live {
        let answer = probe(active.client_config(), Arc::clone(active.material())).await;
        let other = answer.err().map(|failure| failure.kind);
        let both = |kind| failure.kind == kind && other == Some(kind);
        // TLS let both in, and the user is what clients of a relay say for themselves.
        if group.is_relay && both(FailureKind::Authorization) {
            return Said::Accepted;
        }
        let spared = both(failure.kind) || failure.kind == FailureKind::Authorization;
        if other.is_some() && spared {
            return Said::Inconclusive(detail);
        }
    }
    Said::Refused(reason, detail)
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
            .ignore_discovered_servers()
            // Should the server close it before we do, nobody is to dial again.
            .max_reconnects(1);
        // The client's own limit leaves out DNS.
        let limit = settings
            .connect_timeout
            .saturating_mul(2)
            .max(Duration::from_secs(1));
        match tokio::time::timeout(limit, options.connect(address)).await {
            Err(_) => return Err(Failure::unavailable("no answer in time")),
            Ok(Ok(_client)) => return Ok(()),
            Ok(Err(error)) if failure::is_cut_off(&error) && tries < TRIES_WHEN_CUT_OFF => {
                sleep(BETWEEN_TRIES.wait(tries)).await;
            }
            Ok(Err(error)) => return Err(Failure::from_connect_error(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::event::ConnectionState;

    fn refused() -> Said {
        Said::Refused(Reason::ServerRefused, "a: unknown ca".into())
    }

    fn unreachable() -> Said {
        Said::Inconclusive("b: connection refused".into())
    }

    /// As many connections with servers of their own, live or not.
    fn judge_for<const N: usize>(live: [bool; N], answers: Vec<(usize, Said)>) -> GateAnswer {
        let registry = Arc::new(Registry::default());
        let registrations: Vec<_> = (0..N)
            .map(|number| {
                let servers = ServerList::parse([format!("tls://server{number}")]).unwrap();
                let settings = ConnectSettings::new().component(format!("{number}"));
                registry.register(servers, settings).unwrap()
            })
            .collect();
        for (registration, live) in registrations.iter().zip(live) {
            if live {
                registration.update(|report| report.state = ConnectionState::Connected);
            }
        }
        judge(&Group::of(&registry.all()), answers)
    }

    #[test]
    fn any_refusal_rejects_and_one_acceptance_is_enough_for_a_connection() {
        assert_eq!(
            judge_for(
                [true],
                vec![(0, Said::Accepted), (0, unreachable()), (0, refused())]
            ),
            GateAnswer::Refused(Rejection::by_server(Reason::ServerRefused, "a: unknown ca"))
        );
        assert_eq!(
            judge_for([true], vec![(0, unreachable()), (0, Said::Accepted)]),
            GateAnswer::Accepted
        );
        assert!(matches!(
            judge_for([true], vec![(0, unreachable()), (0, unreachable())]),
            GateAnswer::Pending { detail } if detail == "b: connection refused; b: connection refused"
        ));
        assert!(matches!(
            judge_for([], Vec::new()),
            GateAnswer::NotAsked { .. }
        ));
    }

    #[test]
    fn a_live_connection_needs_a_yes_of_its_own_servers() {
        let answers = || vec![(0, Said::Accepted), (1, unreachable())];
        assert!(matches!(
            judge_for([true, true], answers()),
            GateAnswer::Pending { .. }
        ));
        // One that is down anyway does not hold up the others.
        assert_eq!(judge_for([true, false], answers()), GateAnswer::Accepted);
    }

    #[test]
    fn connections_that_ask_the_same_are_one_question() {
        let registry = Arc::new(Registry::default());
        let register = |component: &str, url: &str| {
            let settings = ConnectSettings::new().component(component);
            registry
                .register(ServerList::parse([url]).unwrap(), settings)
                .unwrap()
        };
        let _registrations = [
            register("one", "tls://a"),
            register("two", "tls://a"),
            register("other user", "tls://user:password@a"),
            register("other server", "tls://b"),
        ];
        assert_eq!(Group::of(&registry.all()).len(), 3);
    }
}
