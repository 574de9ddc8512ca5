//! `run`: watches the files, keeps one NATS connection on what is valid, relays clients, answers over
//! HTTP, and ends when it is told to. Wires the library; decides nothing about certificates.

use std::future::Future;
use std::io;
use std::time::Duration;

use nats_mtls::relay::{RelayError, RelaySettings};
use nats_mtls::report::Liveness;
use nats_mtls::{CertificateManager, Connection, ManagerBuilder, Relay, StatusHandle};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::args::RunArgs;
use crate::config::{RunConfig, Startup, Upstream};
use crate::confirm::Confirmer;
use crate::duties::Duties;
use crate::http::{BindError, Exporter, Facts, Server};
use crate::logging;
use crate::notify::Notifier;
use crate::outcome::{Outcome, block_on};
use crate::publish::{self, Kept};
use crate::reload::reload_on;
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
    #[error("the task {0:?} ended by a bug; only a restart brings it back")]
    TaskEnded(&'static str),
    #[error(
        "the task that reads the files is of no use any more ({0}); only a restart brings it back"
    )]
    ReloadOver(&'static str),
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
    let end = EndSignals::new()?;
    let hangups = hangups()?;
    let mut duties = Duties::default();
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
    let (notifier, hooks) = Notifier::start(config.notify, config.paths, &mut duties);
    let (confirmer, confirmed) = Confirmer::new(config.confirm, status.clone(), hooks.clone());
    if let Some(confirmer) = confirmer {
        duties.spawn("confirm", confirmer.run(notifier.feed()));
    }
    // Neither waits for NATS: other processes need the set whether or not a server is there.
    let publish = match config.publish {
        Some(publish) => {
            let status = status.clone();
            Some(publish::start(publish, status, notifier, &mut duties))
        }
        None => {
            duties.spawn("notify", notifier.follow(status.clone()));
            None
        }
    };
    let facts = Facts {
        status: status.clone(),
        publish,
        hooks,
        confirmed,
    };
    if let Some(address) = config.http {
        let server = Server::bind(address).await?;
        info!(address = %server.address()?, "serving /livez /readyz /startupz /status /metrics");
        duties.spawn("serve", server.serve(facts.clone(), Exporter::install()?));
    }
    let manager = ServiceManager::of_process();
    duties.spawn("service manager", manager.clone().follow(facts));
    let reload = reload_on(hangups, status.clone(), manager.clone());
    duties.spawn("reload", reload);
    start::announce(&config.startup);
    announce_preflight(config.upstream.as_ref(), config.preflight);
    let is_probed = config.http.is_some();
    let life = Life {
        builder,
        upstream: config.upstream,
        relay: config.relay,
        startup: config.startup,
        drain_timeout: config.drain_timeout,
        is_probed,
        status: status.clone(),
        manager,
    };
    watch_over(life.live(end), duties, &status, is_probed).await
}

/// Goes on for as long as every task lives.
async fn watch_over(
    living: impl Future<Output = Result<(), RunError>>,
    mut duties: Duties,
    status: &StatusHandle,
    is_probed: bool,
) -> Result<(), RunError> {
    tokio::pin!(living);
    let dead = tokio::select! {
        // First: at the end of a life its tasks end, too.
        biased;
        ended = &mut living => return ended,
        task = duties.ended() => {
            status.set_task_ended(task);
            RunError::TaskEnded(task)
        }
        how = reload_over(|| status.health().liveness) => RunError::ReloadOver(how.as_str()),
    };
    error!("{dead}: /livez says so, and the process ends within {TELL_DEAD:?}");
    if is_probed && let Ok(Err(error)) = timeout(TELL_DEAD, living).await {
        return Err(error);
    }
    Err(dead)
}

/// Resolves when the task of the library that reads the files died, or does not come round.
async fn reload_over(look: impl Fn() -> Liveness) -> Liveness {
    let mut stalled = 0;
    loop {
        match look() {
            ended @ Liveness::ReloadEnded => return ended,
            Liveness::ReloadStalled if stalled == STALLED_LOOKS => return Liveness::ReloadStalled,
            Liveness::ReloadStalled => stalled += 1,
            _ => stalled = 0,
        }
        sleep(RELOAD_CHECK).await;
    }
}

/// What `run` does once all is set up.
struct Life {
    builder: ManagerBuilder,
    upstream: Option<Upstream>,
    relay: Option<RelaySettings>,
    startup: Startup,
    drain_timeout: Duration,
    is_probed: bool,
    status: StatusHandle,
    manager: ServiceManager,
}

impl Life {
    /// Until a signal or a failure ends it.
    async fn live(self, mut end: EndSignals) -> Result<(), RunError> {
        let Self {
            builder,
            manager,
            status,
            ..
        } = self;
        let started = Instant::now();
        let certificates = tokio::select! {
            built = builder.build() => built.map_err(StartError::from)?,
            name = end.next() => {
                manager.stopping();
                info!("{name} before there was material: nothing to drain");
                return Ok(());
            }
        };
        let upstream = self.upstream.as_ref();
        // Clients need not wait for the agent's own connection: they are told themselves how NATS is.
        let relay = match (self.relay, upstream) {
            (Some(settings), Some(upstream)) => Some(
                certificates
                    .relay(upstream.servers.clone(), settings)
                    .await?,
            ),
            _ => None,
        };
        let waited = started.elapsed();
        let connecting = start::connect(&certificates, upstream, &self.startup, waited);
        let (connection, name) = tokio::select! {
            connected = connecting => {
                let connection = connected?;
                let name = tokio::select! {
                    () = closed(connection.as_ref()) => {
                        if self.is_probed {
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
        info!(limit = ?self.drain_timeout, "{name}: a second signal ends at once");
        manager.stopping();
        status.set_draining();
        tokio::select! {
            () = drain(connection, relay, self.drain_timeout) => {}
            name = end.next() => return Err(RunError::Impatient(name)),
        }
        // Kept until now: dropping it would end its tasks.
        drop(certificates);
        info!("ended");
        Ok(())
    }
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

/// How long liveness goes on saying what only a restart can mend: longer than the probes of
/// the runbook take to act on it (30 s), so that an orchestrator restarts us and knows why. Where
/// nothing does, the end of the process is the sign.
const TELL_DEAD: Duration = Duration::from_secs(60);

/// Between two looks at the task of the library that reads the files.
const RELOAD_CHECK: Duration = Duration::from_secs(1);
/// After these it has stalled. The whole process may have stood still, with that task; it comes round soon then.
const STALLED_LOOKS: u32 = 30;

/// Leaves the probes time to say what only a restart can mend.
async fn outlive(signal: impl Future<Output = &'static str>) {
    error!(
        "the NATS connection is closed for good: /livez says so, and the process ends within {TELL_DEAD:?}"
    );
    if let Ok(name) = timeout(TELL_DEAD, signal).await {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_probes_but_for_no_longer_and_not_for_a_signal() {
        let began = Instant::now();
        outlive(std::future::pending()).await;
        assert_eq!(began.elapsed(), TELL_DEAD);
        let began = Instant::now();
        outlive(async { "SIGTERM" }).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    /// A life that ends with its number of seconds, beside a task that panics.
    async fn with_a_dead_task(seconds: u64, is_probed: bool) -> (RunError, StatusHandle) {
        let status = CertificateManager::builder().status_handle();
        let mut duties = Duties::default();
        duties.spawn("publish", async { panic!("a bug") });
        let living = async {
            sleep(Duration::from_secs(seconds)).await;
            Ok(())
        };
        let ended = watch_over(living, duties, &status, is_probed).await;
        (ended.unwrap_err(), status)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_task_is_told_to_the_probes_for_a_while_and_then_ends_the_process() {
        for (seconds, is_probed, took) in [
            (3600, true, TELL_DEAD),
            (3600, false, Duration::ZERO),
            (5, true, Duration::from_secs(5)),
        ] {
            let began = Instant::now();
            let (error, status) = with_a_dead_task(seconds, is_probed).await;
            assert!(matches!(error, RunError::TaskEnded("publish")), "{error}");
            assert!(matches!(error.outcome(), Outcome::Failed));
            assert_eq!(began.elapsed(), took);
            assert_eq!(status.health().liveness, Liveness::TaskEnded("publish"));
        }
    }

    /// A manager that was dropped before it was there leaves nobody who reads the files.
    #[tokio::test(start_paused = true)]
    async fn a_dead_task_of_the_library_ends_the_process_too() {
        for (is_probed, took) in [(true, TELL_DEAD), (false, Duration::ZERO)] {
            let (_pusher, source) = nats_mtls::source::push_source();
            let builder = CertificateManager::builder().source(source);
            let status = builder.status_handle();
            timeout(Duration::from_secs(1), builder.build())
                .await
                .unwrap_err();
            let began = Instant::now();
            let living = std::future::pending();
            let watching = watch_over(living, Duties::default(), &status, is_probed);
            let ended = timeout(2 * TELL_DEAD, watching).await;
            let error = ended.unwrap().unwrap_err();
            assert!(error.to_string().contains("reload_ended"), "{error}");
            assert!(matches!(error.outcome(), Outcome::Failed));
            let waited = began.elapsed();
            assert!(
                waited >= took && waited <= took + RELOAD_CHECK,
                "{waited:?}"
            );
            assert_eq!(status.health().liveness, Liveness::ReloadEnded);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_comes_round_late_is_no_reason_and_one_that_does_not_is() {
        let looks = Cell::new(0);
        let look = |recovers: u32| {
            looks.set(looks.get() + 1);
            if looks.get() == recovers {
                Liveness::Alive
            } else {
                Liveness::ReloadStalled
            }
        };
        for (recovers, took) in [(0, STALLED_LOOKS), (20, 20 + STALLED_LOOKS)] {
            looks.set(0);
            let began = Instant::now();
            let how = reload_over(|| look(recovers)).await;
            assert_eq!(
                (how, began.elapsed()),
                (Liveness::ReloadStalled, took * RELOAD_CHECK)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_life_is_not_blamed_on_its_tasks() {
        let status = CertificateManager::builder().status_handle();
        let mut duties = Duties::default();
        duties.spawn("publish", async {});
        tokio::task::yield_now().await;
        let ended = watch_over(async { Ok(()) }, duties, &status, true).await;
        assert!(ended.is_ok());
        assert_eq!(status.health().liveness, Liveness::Alive);
    }
}
