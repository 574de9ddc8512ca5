//! `run`: watches the files, keeps one NATS connection on what is valid, relays clients, answers over
//! HTTP, and ends when it is told to. Wires the library; decides nothing about certificates.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use nats_mtls::relay::RelayError;
use nats_mtls::{CertificateManager, Connection, Relay, ReloadOutcome, StatusHandle};
use tokio::signal::unix::Signal;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::args::RunArgs;
use crate::config::{RunConfig, Upstream};
use crate::confirm::Confirmer;
use crate::http::{BindError, Exporter, Facts, Server};
use crate::logging;
use crate::notify::Notifier;
use crate::outcome::{Outcome, block_on};
use crate::publish::{self, Kept};
use crate::service_manager::ServiceManager;
use crate::signals::{EndSignals, hangups};
use crate::start::{self, StartError};

/// Why `run` ended other than by a signal.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Http(#[from] BindError),
    #[error("cannot record metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("cannot listen to signals: {0}")]
    Signals(#[from] io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("--listen (NATS_MTLS_LISTEN): {0}")]
    Relay(#[from] RelayError),
    #[error("the relay ended by a bug; only a restart brings it back")]
    RelayEnded,
    #[error("the NATS connection is closed for good; only a restart brings it back")]
    Closed,
    #[error("a second {0} while draining")]
    Impatient(&'static str),
}

impl RunError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Start(error) => error.outcome(),
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
    if let Some(publish) = &config.publish {
        builder = builder.last_good(Kept::new(publish));
    }
    // Probes are answered from here on, long before there may be material.
    let status = builder.status_handle();
    let (notifier, hooks) = Notifier::start(config.notify, config.paths);
    let (confirmer, confirmed) = Confirmer::new(config.confirm, status.clone(), hooks.clone());
    if let Some(confirmer) = confirmer {
        tokio::spawn(confirmer.run(notifier.feed()));
    }
    // Neither waits for NATS: other processes need the set whether or not a server is there.
    let publish = match config.publish {
        Some(publish) => Some(publish::start(publish, status.clone(), notifier)),
        None => {
            tokio::spawn(notifier.follow(status.clone()));
            None
        }
    };
    if let Some(address) = config.http {
        let server = Server::bind(address).await?;
        info!(address = %server.address()?, "serving /livez /readyz /startupz /status /metrics");
        let facts = Facts {
            status: status.clone(),
            publish,
            hooks,
            confirmed,
        };
        tokio::spawn(server.serve(facts, Exporter::install()?));
    }
    let manager = ServiceManager::of_process();
    tokio::spawn(manager.clone().follow(status.clone()));
    tokio::spawn(reload_on(hangups, status.clone(), manager.clone()));
    start::announce(&config.startup);
    announce_preflight(config.upstream.as_ref(), config.preflight);

    let started = Instant::now();
    let certificates = tokio::select! {
        built = builder.build() => built.map_err(StartError::from)?,
        name = end.next() => {
            manager.stopping();
            info!("{name} before there was material: nothing to drain");
            return Ok(());
        }
    };
    let upstream = config.upstream.as_ref();
    // Clients need not wait for the agent's own connection: they are told themselves how NATS is.
    let relay = match (config.relay, upstream) {
        (Some(settings), Some(upstream)) => Some(
            certificates
                .relay(upstream.servers.clone(), settings)
                .await?,
        ),
        _ => None,
    };
    let waited = started.elapsed();
    let connecting = start::connect(&certificates, upstream, &config.startup, waited);
    let (connection, name) = tokio::select! {
        connected = connecting => {
            let connection = connected?;
            let name = tokio::select! {
                () = closed(connection.as_ref()) => {
                    if config.http.is_some() {
                        outlive(end.next()).await;
                    }
                    return Err(RunError::Closed);
                }
                () = ended(relay.as_ref()) => return Err(RunError::RelayEnded),
                name = end.next() => name,
            };
            (connection, name)
        }
        () = ended(relay.as_ref()) => return Err(RunError::RelayEnded),
        name = end.next() => (None, name),
    };
    info!(limit = ?config.drain_timeout, "{name}: a second signal ends at once");
    manager.stopping();
    status.set_draining();
    tokio::select! {
        () = drain(connection, relay, config.drain_timeout) => {}
        name = end.next() => return Err(RunError::Impatient(name)),
    }
    // Kept until now: dropping it would end its tasks.
    drop(certificates);
    info!("ended");
    Ok(())
}

/// Both at once; the relay has the same limit.
async fn drain(connection: Option<Connection>, relay: Option<Relay>, limit: Duration) {
    let connection = async {
        if let Some(connection) = connection
            && !connection.drain(limit).await
        {
            warn!(?limit, "not drained in time: given up");
        }
    };
    let relay = async {
        if let Some(relay) = relay {
            relay.drain().await;
        }
    };
    tokio::join!(connection, relay);
}

/// How long liveness goes on saying that the connection is closed for good: longer than the probes of
/// the runbook take to act on it (30 s), so that an orchestrator restarts us and knows why. Where
/// nothing does, the end of the process is the sign.
const TELL_CLOSED: Duration = Duration::from_secs(60);

/// Leaves the probes time to say what only a restart can mend.
async fn outlive(signal: impl Future<Output = &'static str>) {
    error!(
        "the NATS connection is closed for good: /livez says so, and the process ends within {TELL_CLOSED:?}"
    );
    if let Ok(name) = timeout(TELL_CLOSED, signal).await {
        info!("{name}: nothing to drain");
    }
}

/// Says once what is not watched over.
fn announce_preflight(upstream: Option<&Upstream>, preflight: bool) {
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

/// Resolves when the connection is over for good; never without one.
async fn closed(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.closed().await,
        None => std::future::pending().await,
    }
}

/// Resolves when the relay is over without having been asked; never without one.
async fn ended(relay: Option<&Relay>) {
    match relay {
        Some(relay) => relay.ended().await,
        None => std::future::pending().await,
    }
}

async fn reload_on(
    mut hangups: Signal,
    status: StatusHandle,
    manager: ServiceManager,
) -> Infallible {
    loop {
        if hangups.recv().await.is_none() {
            return std::future::pending().await;
        }
        info!("SIGHUP: reload");
        manager.reloading();
        let outcome = status.reload().await;
        manager.reloaded();
        match outcome {
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_probes_but_for_no_longer_and_not_for_a_signal() {
        let began = Instant::now();
        outlive(std::future::pending()).await;
        assert_eq!(began.elapsed(), TELL_CLOSED);
        let began = Instant::now();
        outlive(async { "SIGTERM" }).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
