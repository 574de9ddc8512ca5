//! The face of the library: wires the layers and owns the tasks.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::clock;
use crate::material::{Policy, Rejection};
use crate::nats::{
    self, ConnectSettings, Connection, ConnectionError, ConnectionReport, IntoServerList,
    Preflight, Registry, Shared, StartupPolicy,
};
use crate::reload::{Command, ReloadOutcome, ReloadReport, Reloader, Timing};
use crate::report::{Facts, Health, Status, health};
use crate::source::{Files, Source};
use crate::store::{Generation, Snapshot, Store};
use crate::tls::{Connector, SerialConfig, ServerNames, TlsVersions};

const COMMAND_CAPACITY: usize = 64;

/// Keeps one set of certificate, key and roots fresh, and every connection made through it.
///
/// Cheap to clone. The tasks end when the last clone and the last [`Connection`] are dropped.
#[derive(Clone)]
pub struct CertificateManager {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    registry: Arc<Registry>,
    status: StatusHandle,
}

/// Settings of a manager. The defaults are meant for production.
#[must_use]
pub struct ManagerBuilder {
    source: Option<Box<dyn Source>>,
    policy: Policy,
    timing: Timing,
    versions: TlsVersions,
    preflight: bool,
    startup: StartupPolicy,
    status: StatusHandle,
}

/// Why a manager could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Neither files nor another source was given.
    #[error("no source of material: call `files` or `source` on the builder")]
    NoSource,
    /// There was no acceptable material as long as the startup policy allowed.
    #[error("no acceptable material after {waited:.1?}{}", why(.rejection))]
    NoMaterial {
        /// How long it was waited for.
        waited: Duration,
        /// What is wrong with the set, as far as it is known.
        rejection: Option<Rejection>,
    },
    /// The reload task ended; only a panic in a custom source does that.
    #[error("the reload task ended")]
    Ended,
}

fn why(rejection: &Option<Rejection>) -> String {
    rejection.as_ref().map_or_else(String::new, |rejection| {
        format!(": {rejection}. {}", rejection.reason.advice())
    })
}

impl CertificateManager {
    /// A manager's settings, to be filled in.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::new()
    }

    /// Connects to NATS with the active material and keeps the connection on it: every later
    /// generation is asked about at these servers first, then the connection is moved onto it.
    ///
    /// # Errors
    /// [`ConnectionError`]; while no server accepts, the startup policy of `settings` decides
    /// whether and how long to go on.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn connect(
        &self,
        servers: impl IntoServerList,
        settings: ConnectSettings,
    ) -> Result<Connection, ConnectionError> {
        let servers = servers.into_server_list()?;
        nats::connect(&self.inner.shared, &self.inner.registry, servers, settings).await
    }

    /// For clients that can take a fresh configuration per connection: a tokio-rustls connector
    /// whose every connection uses the snapshot that is active when it starts.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::new(Arc::clone(&self.inner.shared.store))
    }

    /// For *one* client that takes one `rustls::ClientConfig` for life and makes one handshake at
    /// a time. `names` says which names a server may carry.
    ///
    /// # Errors
    /// When rustls has no protocol version in common with the crypto provider.
    pub fn serial_client_config(&self, names: ServerNames) -> Result<SerialConfig, rustls::Error> {
        let shared = &self.inner.shared;
        SerialConfig::new(Arc::clone(&shared.store), names, shared.versions)
    }

    /// The active snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let active = self.inner.shared.store.active();
        #[expect(
            clippy::expect_used,
            reason = "build() returns after the first publish, and nothing takes a snapshot back"
        )]
        active.expect("a manager has material")
    }

    /// Tells each new generation; look at [`CertificateManager::snapshot`] after a change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Generation> {
        self.inner.shared.store.subscribe()
    }

    /// Judges the source now, without patience for half-written files and without spread, and
    /// waits for the outcome, a preflight included.
    ///
    /// # Cancel safety
    /// Once polled the reload goes on even if the future is dropped.
    pub async fn reload(&self) -> Result<ReloadOutcome, BuildError> {
        reload(&self.inner.shared.commands).await
    }

    /// Everything that is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status.status()
    }

    /// A handle that answers for the probes and the status; it exists before material does.
    #[must_use]
    pub fn status_handle(&self) -> StatusHandle {
        self.inner.status.clone()
    }
}

impl fmt::Debug for CertificateManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateManager")
            .field("active", &self.inner.shared.store.active())
            .finish_non_exhaustive()
    }
}

async fn reload(commands: &mpsc::Sender<Command>) -> Result<ReloadOutcome, BuildError> {
    let (reply, outcome) = oneshot::channel();
    commands
        .send(Command::Reload(reply))
        .await
        .map_err(|_| BuildError::Ended)?;
    outcome.await.map_err(|_| BuildError::Ended)
}

impl ManagerBuilder {
    fn new() -> Self {
        let timing = Timing {
            poll_interval: Duration::from_secs(10),
            settle: Duration::from_secs(10),
            spread: Duration::from_secs(1),
        };
        Self {
            source: None,
            policy: Policy::default(),
            status: StatusHandle::new(),
            timing,
            versions: TlsVersions::default(),
            preflight: true,
            startup: StartupPolicy::RetryFor(Duration::from_secs(30)),
        }
    }

    /// Takes the set from files.
    pub fn files(self, files: Files) -> Self {
        self.source(files.into_source())
    }

    /// Takes the set from anywhere else.
    pub fn source(mut self, source: impl Source) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// What is acceptable. Default: [`Policy::default`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Between two reads when no change is noticed; the backstop of the watcher. Default 10 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.timing.poll_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// How long a set may look half-written before it is called rejected. Default 10 s.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.timing.settle = settle;
        self
    }

    /// The longest random delay between a valid change and its preflight, so that a fleet does not
    /// move as one. Default 1 s.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.timing.spread = spread;
        self
    }

    /// Which TLS versions are offered. Default: 1.2 and newer.
    pub fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Whether servers are asked before material is published. Default on.
    pub fn preflight(mut self, preflight: bool) -> Self {
        self.preflight = preflight;
        self
    }

    /// What to do while there is no acceptable material. Default: retry for 30 s.
    pub fn startup(mut self, policy: StartupPolicy) -> Self {
        self.startup = policy;
        self
    }

    /// The process is ready only once it has a connection. Default: if it has one, it must be up.
    pub fn expect_connection(self) -> Self {
        self.status
            .shared
            .expects_connection
            .store(true, Ordering::Relaxed);
        self
    }

    /// A handle that answers for the probes and the status, also while [`ManagerBuilder::build`]
    /// still waits.
    #[must_use]
    pub fn status_handle(&self) -> StatusHandle {
        self.status.clone()
    }

    /// Starts the tasks and returns once there is material.
    ///
    /// # Errors
    /// [`BuildError::NoMaterial`] with the precise reason, when the startup policy gives up.
    ///
    /// # Cancel safety
    /// Dropping the future ends the tasks.
    pub async fn build(self) -> Result<CertificateManager, BuildError> {
        let source = self.source.ok_or(BuildError::NoSource)?;
        let (commands, command_receiver) = mpsc::channel(COMMAND_CAPACITY);
        let StatusHandle { shared: status } = &self.status;
        let shared = Shared {
            store: Arc::clone(&status.store),
            commands,
            versions: self.versions,
            turns: Arc::new(Semaphore::new(1)),
        };
        let gate = Preflight::new(Arc::clone(&status.registry), self.preflight);
        let (reloader, reports) = Reloader::new(
            source,
            self.policy,
            &self.timing,
            self.versions,
            Arc::clone(&status.store),
            Arc::new(gate),
            command_receiver,
        );
        status.start(reports, &self.timing, shared.commands.downgrade());
        tokio::spawn(reloader.run());
        wait_for_material(&shared, &self.status, self.startup).await?;
        Ok(CertificateManager {
            inner: Arc::new(Inner {
                shared,
                registry: Arc::clone(&status.registry),
                status: self.status.clone(),
            }),
        })
    }
}

async fn wait_for_material(
    shared: &Shared,
    status: &StatusHandle,
    policy: StartupPolicy,
) -> Result<(), BuildError> {
    let started = Instant::now();
    let mut generation = shared.store.subscribe();
    let published = generation.wait_for(|generation| *generation > Generation::NONE);
    let done = match policy {
        StartupPolicy::FailFast => {
            let outcome = reload(&shared.commands).await?;
            debug!(?outcome, "first judgement");
            shared.store.active().is_some()
        }
        StartupPolicy::RetryFor(budget) => timeout(budget, published).await.is_ok(),
        StartupPolicy::RetryForever => published.await.is_ok(),
    };
    if done {
        return Ok(());
    }
    // What still settles when the time is over is judged as it is.
    if let StartupPolicy::RetryFor(_) = policy {
        reload(&shared.commands).await?;
        if shared.store.active().is_some() {
            return Ok(());
        }
    }
    let report = status.shared.report();
    Err(BuildError::NoMaterial {
        waited: started.elapsed(),
        rejection: report.and_then(|report| report.disk_rejection),
    })
}

/// Answers for the probes and the status, at any time. Cheap to clone.
#[derive(Clone)]
pub struct StatusHandle {
    shared: Arc<StatusShared>,
}

struct StatusShared {
    store: Arc<Store>,
    registry: Arc<Registry>,
    started: OnceLock<Started>,
    expects_connection: AtomicBool,
    draining: AtomicBool,
    was_ready: AtomicBool,
}

struct Started {
    reports: watch::Receiver<ReloadReport>,
    patience: Duration,
    commands: mpsc::WeakSender<Command>,
}

impl StatusShared {
    fn start(
        &self,
        reports: watch::Receiver<ReloadReport>,
        timing: &Timing,
        commands: mpsc::WeakSender<Command>,
    ) {
        let started = Started {
            reports,
            patience: timing.poll_interval * 3 + Duration::from_secs(30),
            commands,
        };
        // The builder is consumed, so it starts once.
        self.started.set(started).ok();
    }

    fn report(&self) -> Option<ReloadReport> {
        Some(self.started.get()?.reports.borrow().clone())
    }

    fn not_ready(&self, connections: &[ConnectionReport]) -> Option<health::NotReady> {
        let active = self.store.active();
        let not_ready = health::Readiness {
            active: active.as_deref(),
            connections,
            expects_connection: self.expects_connection.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
            wall: clock::now(),
        }
        .judge();
        if not_ready.is_none() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        not_ready
    }
}

impl StatusHandle {
    fn new() -> Self {
        Self {
            shared: Arc::new(StatusShared {
                store: Arc::new(Store::new()),
                registry: Arc::new(Registry::default()),
                started: OnceLock::new(),
                expects_connection: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                was_ready: AtomicBool::new(false),
            }),
        }
    }

    /// Everything that is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        let connections = self.shared.registry.reports();
        let active = self.shared.store.active();
        let report = self.shared.report();
        Status::of(&Facts {
            active: active.as_deref(),
            reload: report.as_ref(),
            not_ready: self.shared.not_ready(&connections),
            connections: &connections,
        })
    }

    /// The answers to the three probes.
    #[must_use]
    pub fn health(&self) -> Health {
        let connections = self.shared.registry.reports();
        let not_ready = self.shared.not_ready(&connections);
        // Before the start there is nothing that could have died.
        let liveness = match self.shared.started.get() {
            None => health::Liveness::Alive,
            Some(started) => {
                let ended = started.reports.has_changed().is_err();
                let beat = (!ended).then(|| started.reports.borrow().beat);
                let now = Instant::now().into_std();
                health::liveness(beat, now, started.patience, &connections)
            }
        };
        Health {
            started: self.shared.was_ready.load(Ordering::Relaxed),
            not_ready,
            liveness,
        }
    }

    /// The process is ending: not ready from now on.
    pub fn set_draining(&self) {
        info!("draining");
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// As [`CertificateManager::reload`], also while the manager still waits for material.
    ///
    /// # Errors
    /// [`BuildError::Ended`] before the start and after the end.
    pub async fn reload(&self) -> Result<ReloadOutcome, BuildError> {
        let started = self.shared.started.get().ok_or(BuildError::Ended)?;
        let commands = started.commands.upgrade().ok_or(BuildError::Ended)?;
        reload(&commands).await
    }
}
