//! The start that `run` and `wait` share: material first, then a connection, one budget for both.

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
        computed = startup.computed(),
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
    let Some(upstream) = upstream else {
        return Ok((manager, None));
    };
    let policy = match startup.policy {
        StartupPolicy::RetryFor(budget) => {
            StartupPolicy::RetryFor(budget.saturating_sub(started.elapsed()))
        }
        other => other,
    };
    let settings = upstream.settings_with(policy);
    let connection = manager.connect(upstream.servers.clone(), settings).await?;
    Ok((manager, Some(connection)))
}
