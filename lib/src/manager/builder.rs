//! How a manager is made: settings, the tasks, and the wait for the first material.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{CertificateManager, Inner, StatusHandle, metrics};
use crate::material::{Policy, Rejection};
use crate::nats::{Preflight, Shared, StartupPolicy};
use crate::reload::{Command, ReloadOutcome, Reloader, Timing};
use crate::source::{Files, Source};
use crate::store::Generation;
use crate::tls::TlsVersions;

const COMMAND_CAPACITY: usize = 64;
const SHORTEST_POLL: Duration = Duration::from_millis(10);
const LONGEST_POLL: Duration = Duration::from_secs(60 * 60);
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// For the one judgement after the startup budget is spent.
const LAST_JUDGEMENT: Duration = Duration::from_secs(1);

/// Settings of a manager. The defaults are meant for production.
#[must_use]
pub struct ManagerBuilder {
    source: Option<Box<dyn Source>>,
    last_good: Option<Box<dyn Source>>,
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

impl ManagerBuilder {
    pub(super) fn new() -> Self {
        let timing = Timing {
            poll_interval: Duration::from_secs(10),
            settle: Duration::from_secs(10),
            spread: Duration::from_secs(1),
        };
        Self {
            source: None,
            last_good: None,
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

    /// Where the last good set was kept by an earlier life of this process. While nothing was ever
    /// active and the source has nothing acceptable, it is judged by the same policy and used if it
    /// is good; the source wins as soon as it has something acceptable. Default: none.
    ///
    /// See [`Snapshot::is_restored`](crate::Snapshot::is_restored).
    pub fn last_good(mut self, kept: impl Source) -> Self {
        self.last_good = Some(Box::new(kept));
        self
    }

    /// What is acceptable. Default: [`Policy::default`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Between two reads when no change is noticed; the backstop of the watcher. Default 10 s;
    /// held between 10 ms and an hour.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.timing.poll_interval = interval.clamp(SHORTEST_POLL, LONGEST_POLL);
        self
    }

    /// How long a set may look half-written before it is called rejected. Default 10 s; a day at
    /// most.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.timing.settle = settle.min(LONGEST_WAIT);
        self
    }

    /// The longest random delay between a valid change and its preflight, so that a fleet does not
    /// move as one. Default 1 s; a day at most, and never past half the time that the active
    /// certificate has left.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.timing.spread = spread.min(LONGEST_WAIT);
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

    /// The process is ready only once it has a connection. Default: if it has one, it must be up; a
    /// service that connects should say this, or a probe finds it ready in the moment before it calls
    /// [`CertificateManager::connect`].
    pub fn expect_connection(self) -> Self {
        self.status.expect_connection();
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
        let (mut reloader, reports) = Reloader::new(
            source,
            self.policy,
            &self.timing,
            self.versions,
            Arc::clone(&status.store),
            Arc::new(gate),
            command_receiver,
        );
        if let Some(kept) = self.last_good {
            reloader.start_from(kept);
        }
        status.start(reports.clone(), &self.timing, shared.commands.downgrade());
        tokio::spawn(metrics::keep_up_to_date(Arc::clone(status), reports));
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
    // What still settles when the time is over is judged as it is, if the source answers at all.
    if let StartupPolicy::RetryFor(_) = policy {
        let judged = timeout(LAST_JUDGEMENT, reload(&shared.commands)).await;
        judged.unwrap_or(Ok(ReloadOutcome::Unchanged))?;
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

/// Asks the reload task to judge now, and waits for what comes of it.
pub(super) async fn reload(commands: &mpsc::Sender<Command>) -> Result<ReloadOutcome, BuildError> {
    let (reply, outcome) = oneshot::channel();
    commands
        .send(Command::Reload(reply))
        .await
        .map_err(|_| BuildError::Ended)?;
    outcome.await.map_err(|_| BuildError::Ended)
}
