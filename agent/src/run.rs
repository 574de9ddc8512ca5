//! `run`: watches the files, keeps one NATS connection on what is valid, answers over HTTP, and
//! ends when it is told to. Wires the library; decides nothing about certificates.

use std::convert::Infallible;
use std::io;

use nats_mtls::nats::{ConnectionError, FailureKind};
use nats_mtls::{
    BuildError, CertificateManager, Connection, ManagerBuilder, ReloadOutcome, StartupPolicy,
    StatusHandle,
};
use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::args::RunArgs;
use crate::config::{RunConfig, Startup, Upstream};
use crate::http::{BindError, Server};
use crate::logging;
use crate::outcome::{Outcome, block_on};
use crate::signals::{EndSignals, hangups};

/// Why `run` ended other than by a signal.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Http(#[from] BindError),
    #[error("cannot listen to signals: {0}")]
    Signals(#[from] io::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    #[error("the NATS connection is closed for good; only a restart brings it back")]
    Closed,
    #[error("a second {0} while draining")]
    Impatient(&'static str),
}

impl RunError {
    /// Nobody answered: for scripts a different thing from being turned away.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(ConnectionError::NotConnected { attempts, .. })
                if attempts.iter().all(|attempt| {
                    let failure = attempt.last_failure.as_ref();
                    failure.is_none_or(|failure| failure.kind == FailureKind::Unavailable)
                }) =>
            {
                Outcome::NotReachable
            }
            _ => Outcome::Failed,
        }
    }
}

/// The command, from arguments to exit code.
pub(crate) fn command(args: &RunArgs) -> Outcome {
    let config = match RunConfig::new(args).and_then(|config| {
        logging::start(&args.log, "info")?;
        Ok(config)
    }) {
        Ok(config) => config,
        Err(error) => return Outcome::wrong_usage(&error),
    };
    block_on(async {
        match run(config).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                error!("{error}");
                error.outcome()
            }
        }
    })
}

async fn run(config: RunConfig) -> Result<(), RunError> {
    let mut end = EndSignals::new()?;
    let hangups = hangups()?;
    let mut builder = CertificateManager::builder()
        .files(config.files)
        .policy(config.policy)
        .poll_interval(config.poll_interval)
        .settle(config.settle)
        .spread(config.spread)
        .preflight(config.preflight)
        .startup(config.startup.policy);
    if config.upstream.is_some() {
        builder = builder.expect_connection();
    }
    // Probes are answered from here on, long before there may be material.
    let status = builder.status_handle();
    if let Some(address) = config.http {
        let server = Server::bind(address).await?;
        info!(address = %server.address()?, "serving /livez /readyz /startupz /status");
        tokio::spawn(server.serve(status.clone()));
    }
    tokio::spawn(reload_on(hangups, status.clone()));
    announce(&config.startup, config.upstream.as_ref(), config.preflight);

    // Kept until the end: dropping the manager would end its tasks.
    let (_manager, connection) = tokio::select! {
        started = start(builder, config.upstream.as_ref(), &config.startup) => started?,
        name = end.next() => {
            info!("{name} before the start was complete: nothing to drain");
            return Ok(());
        }
    };
    let name = tokio::select! {
        () = closed(connection.as_ref()) => return Err(RunError::Closed),
        name = end.next() => name,
    };
    info!(limit = ?config.drain_timeout, "{name}: a second signal ends at once");
    status.set_draining();
    if let Some(connection) = connection {
        tokio::select! {
            closed = connection.drain(config.drain_timeout) => if !closed {
                warn!(limit = ?config.drain_timeout, "not drained in time: given up");
            },
            name = end.next() => return Err(RunError::Impatient(name)),
        }
    }
    info!("ended");
    Ok(())
}

/// Says once what the start may take and what is not watched over.
fn announce(startup: &Startup, upstream: Option<&Upstream>, preflight: bool) {
    let budget = startup.budget;
    let total = budget.total();
    let policy = match startup.policy {
        StartupPolicy::FailFast => "fail-fast: the first failure ends it",
        StartupPolicy::RetryFor(_) => "retry: ends when the budget is spent",
        _ => "forever: never gives up",
    };
    let effective = match startup.policy {
        StartupPolicy::RetryFor(budget) => budget,
        _ => total,
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        policy,
        budget = ?effective,
        computed = %format_args!(
            "{:?} x {} server(s) x {} pass(es) + {:?} = {total:?}",
            budget.connect_timeout, budget.servers, budget.passes, budget.margin,
        ),
        "starting"
    );
    match upstream {
        None => warn!(
            "no --server: nothing is connected and preflight is off, new material is judged by its \
             content alone"
        ),
        Some(upstream) if !preflight => {
            warn!(servers = %upstream.servers, "preflight is off: no server is asked about new material");
        }
        Some(upstream) => info!(servers = %upstream.servers, "preflight is on"),
    }
}

/// Material first, then a connection; one budget for both.
async fn start(
    builder: ManagerBuilder,
    upstream: Option<&Upstream>,
    startup: &Startup,
) -> Result<(CertificateManager, Option<Connection>), RunError> {
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

/// Resolves when the connection is over for good; never without one.
async fn closed(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.closed().await,
        None => std::future::pending().await,
    }
}

async fn reload_on(mut hangups: Signal, status: StatusHandle) -> Infallible {
    loop {
        if hangups.recv().await.is_none() {
            return std::future::pending().await;
        }
        info!("SIGHUP: reload");
        match status.reload().await {
            Ok(ReloadOutcome::Published(generation)) => {
                info!(%generation, "reload: published");
            }
            Ok(ReloadOutcome::Unchanged) => info!("reload: unchanged"),
            Ok(ReloadOutcome::Rejected(rejection)) => warn!(
                reason = %rejection.reason,
                detail = rejection.detail,
                advice = rejection.reason.advice(),
                "reload: rejected"
            ),
            Ok(ReloadOutcome::Pending { detail }) => {
                warn!(detail, "reload: pending, asked again by itself");
            }
            Ok(other) => info!(outcome = ?other, "reload"),
            Err(error) => warn!(%error, "reload: not possible"),
        }
    }
}
