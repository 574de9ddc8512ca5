//! The start that `run` and `wait` share: material first, then a connection, one budget for both.

use std::time::Duration;

use nats_mtls::nats::{ConnectionError, FailureKind, ServerAttempts};
use nats_mtls::{BuildError, CertificateManager, Connection, ManagerBuilder, StartupPolicy};
use tokio::time::Instant;
use tracing::info;

use crate::config::{Startup, Upstream};
use crate::outcome::Outcome;

/// The startup policy gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    /// What was left of the budget once there was material says nothing about the servers.
    #[error(
        "a valid set came only after {waited:.1?} of {budget:.1?}: no time was left to reach NATS. \
         See why it came so late, or give a longer --startup-budget"
    )]
    TooLate { waited: Duration, budget: Duration },
}

impl StartError {
    /// Nobody answered: for scripts a different thing from being turned away.
    pub(crate) fn outcome(&self) -> Outcome {
        let is_silent = |attempt: &ServerAttempts| {
            let failure = attempt.last_failure.as_ref();
            failure.is_none_or(|failure| failure.kind == FailureKind::Unavailable)
        };
        match self {
            Self::Connect(ConnectionError::NotConnected { attempts, .. })
                if attempts.iter().all(is_silent) =>
            {
                Outcome::NotReachable
            }
            _ => Outcome::Failed,
        }
    }
}

/// Says once what the start may take.
pub(crate) fn announce(startup: &Startup) {
    let policy = match startup.policy {
        StartupPolicy::FailFast => "fail-fast: the first failure ends it",
        StartupPolicy::RetryFor(_) => "retry: ends when the budget is spent",
        _ => "forever: never gives up",
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        policy,
        budget = ?startup.limit().unwrap_or_else(|| startup.budget.total()),
        computed = %startup.budget,
        "starting"
    );
}

/// Material first, then a connection.
pub(crate) async fn start(
    builder: ManagerBuilder,
    upstream: Option<&Upstream>,
    startup: &Startup,
) -> Result<(CertificateManager, Option<Connection>), StartError> {
    let started = Instant::now();
    let manager = builder.build().await?;
    let connection = connect(&manager, upstream, startup, started.elapsed()).await?;
    Ok((manager, connection))
}

/// A connection, if there is anybody to connect to, within what is left of the budget.
pub(crate) async fn connect(
    manager: &CertificateManager,
    upstream: Option<&Upstream>,
    startup: &Startup,
    waited: Duration,
) -> Result<Option<Connection>, StartError> {
    let Some(upstream) = upstream else {
        return Ok(None);
    };
    let policy = match startup.policy {
        StartupPolicy::RetryFor(budget) => StartupPolicy::RetryFor(budget.saturating_sub(waited)),
        other => other,
    };
    let settings = upstream.settings_with(policy);
    let connecting = manager.connect(upstream.servers.clone(), settings).await;
    let connection = connecting.map_err(|error| match startup.policy {
        StartupPolicy::RetryFor(budget) if is_too_late(&error, waited, budget, upstream) => {
            StartError::TooLate { waited, budget }
        }
        _ => error.into(),
    })?;
    Ok(Some(connection))
}

/// Whether the wait for material, which took `waited` of the budget, is why no server answered:
/// not one attempt came to an end, and the first had less time than an attempt may take.
fn is_too_late(
    error: &ConnectionError,
    waited: Duration,
    budget: Duration,
    upstream: &Upstream,
) -> bool {
    let ConnectionError::NotConnected { attempts, .. } = error else {
        return false;
    };
    let remaining = budget.saturating_sub(waited);
    let is_cut_short = |attempt: &ServerAttempts| attempt.last_failure.is_none();
    waited > remaining
        && remaining < upstream.connect_timeout()
        && attempts.iter().all(is_cut_short)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use nats_mtls::source::{RawKey, RawMaterial, RawPart, push_source};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::net::TcpListener;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::config::WaitConfig;

    const BUDGET: Duration = Duration::from_secs(15);

    fn set() -> RawMaterial {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(["orders.example".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &root).unwrap();
        RawMaterial {
            certificate: RawPart::new("tls.crt", leaf.pem()),
            key: RawKey::Pem(RawPart::new("tls.key", key.serialize_pem())),
            roots: RawPart::new("ca.crt", root.pem()),
            crls: None,
            issuer: None,
        }
    }

    /// A start whose set comes after `material` of the budget, at a server that says nothing.
    async fn fails(material: Duration) -> StartError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let budget = format!("{BUDGET:?}");
        let arguments =
            format!("agent wait --cert c --ca a --server {server} --startup-budget {budget}");
        let arguments = arguments.split(' ');
        let config = match Cli::try_parse_from(arguments).unwrap().command {
            Command::Wait(args) => WaitConfig::new(&args).unwrap(),
            other => unreachable!("{other:?}"),
        };
        let (pusher, source) = push_source();
        let builder = CertificateManager::builder()
            .source(source)
            .startup(config.startup.policy);
        let later = tokio::spawn(async move {
            tokio::time::sleep(material).await;
            pusher.push(set());
        });
        let started = start(builder, config.upstream.as_ref(), &config.startup).await;
        later.await.unwrap();
        started.map(|_| ()).unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_the_servers_fault_only_if_they_had_time_to_answer() {
        let error = fails(Duration::ZERO).await;
        assert_eq!(error.outcome(), Outcome::NotReachable, "{error}");
        let error = fails(Duration::from_secs(9)).await;
        assert_eq!(error.outcome(), Outcome::NotReachable, "{error}");
        let error = fails(BUDGET - Duration::from_millis(100)).await;
        assert_eq!(error.outcome(), Outcome::Failed, "{error}");
        let error = error.to_string();
        assert!(
            error.contains("14.9s of 15.0s") && error.contains("--startup-budget"),
            "{error}"
        );
    }
}
