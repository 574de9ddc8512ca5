//! Answers for the probes and the status, before, while and after there is a manager.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use super::builder::{self, BuildError};
use crate::clock;
use crate::nats::{ConnectionReport, Registry};
#[cfg(feature = "relay")]
use crate::relay::Board;
use crate::reload::{Command, ReloadOutcome, ReloadReport, Timing};
use crate::report::certificates::Certificates;
#[cfg(feature = "relay")]
use crate::report::metrics::MeasuredRelay;
use crate::report::metrics::{self, Measured, Metrics};
use crate::report::{Facts, Health, RelayStatus, Status, certificate_info, health};
use crate::store::{Generation, Snapshot, Store};

/// Answers for the probes and the status, at any time. Cheap to clone.
#[derive(Clone)]
pub struct StatusHandle {
    pub(super) shared: Arc<StatusShared>,
}

pub(super) struct StatusShared {
    pub(super) store: Arc<Store>,
    pub(super) registry: Arc<Registry>,
    #[cfg(feature = "relay")]
    pub(super) relays: Arc<Board>,
    started: OnceLock<Started>,
    expects_connection: AtomicBool,
    draining: AtomicBool,
    was_ready: AtomicBool,
    ended_task: OnceLock<&'static str>,
    /// Locked while emitting: gauges must not go back because two emissions cross.
    metrics: Mutex<Metrics>,
}

struct Started {
    reports: watch::Receiver<ReloadReport>,
    patience: Duration,
    commands: mpsc::WeakSender<Command>,
}

impl StatusShared {
    pub(super) fn start(
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

    pub(super) fn report(&self) -> Option<ReloadReport> {
        Some(self.started.get()?.reports.borrow().clone())
    }

    /// Sets every metric to what is known now.
    pub(super) fn emit_metrics(&self) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let active = self.store.active();
        let report = self.report();
        // First, so that the totals are never behind the histogram.
        let observations = self.registry.journal().take();
        let (connections, retired) = self.registry.all_totals();
        #[cfg(feature = "relay")]
        let relay = self.measured_relay();
        metrics.emit(&Measured {
            active: active.as_deref(),
            reload: report.as_ref(),
            connections: &connections,
            retired: &retired,
            observations,
            #[cfg(feature = "relay")]
            relay,
            now: Instant::now().into_std(),
            wall: clock::now(),
        });
    }

    #[cfg(feature = "relay")]
    fn measured_relay(&self) -> Option<MeasuredRelay> {
        let stalls = self.relays.take_stalls().into();
        let report = self.relays.report()?;
        Some(MeasuredRelay { report, stalls })
    }

    #[cfg(feature = "relay")]
    fn relay(&self) -> Option<RelayStatus> {
        let report = self.relays.report()?;
        Some(RelayStatus::of(&report, self.relays.last_failure()))
    }

    #[cfg(not(feature = "relay"))]
    #[expect(clippy::unused_self, reason = "with the feature it looks")]
    fn relay(&self) -> Option<RelayStatus> {
        None
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

    /// Whether it was ready once, also at a moment when nobody asked.
    fn has_started(&self, connections: &[ConnectionReport]) -> bool {
        let expected = self.expects_connection.load(Ordering::Relaxed);
        let connected = connections.iter().all(|report| report.connects > 0);
        self.was_ready.load(Ordering::Relaxed)
            || (self.store.active().is_some() && connected && !(expected && connections.is_empty()))
    }
}

impl StatusHandle {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::new(StatusShared {
                store: Arc::new(Store::new()),
                registry: Arc::new(Registry::default()),
                #[cfg(feature = "relay")]
                relays: Arc::default(),
                started: OnceLock::new(),
                expects_connection: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                was_ready: AtomicBool::new(false),
                ended_task: OnceLock::new(),
                metrics: Mutex::default(),
            }),
        }
    }

    pub(super) fn expect_connection(&self) {
        self.shared
            .expects_connection
            .store(true, Ordering::Relaxed);
    }

    /// Everything that is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        let connections = self.shared.registry.reports();
        let active = self.shared.store.active();
        let report = self.shared.report();
        Status::of(Facts {
            active: active.as_deref(),
            reload: report.as_ref(),
            not_ready: self.shared.not_ready(&connections),
            connections: &connections,
            relay: self.shared.relay(),
        })
    }

    /// The answers to the three probes.
    #[must_use]
    pub fn health(&self) -> Health {
        let connections = self.shared.registry.reports();
        let not_ready = self.shared.not_ready(&connections);
        let liveness = match (self.shared.ended_task.get(), self.shared.started.get()) {
            (Some(task), _) => health::Liveness::TaskEnded(task),
            // Before the start there is nothing of ours that could have died.
            (None, None) => health::Liveness::Alive,
            (None, Some(started)) => {
                let ended = started.reports.has_changed().is_err();
                let beat = (!ended).then(|| started.reports.borrow().beat);
                let now = Instant::now().into_std();
                health::liveness(beat, now, started.patience, &connections)
            }
        };
        Health {
            started: self.shared.has_started(&connections),
            not_ready,
            liveness,
        }
    }

    /// Brings the metrics up to date, for whoever is about to read them. They are emitted by
    /// themselves too, with each change and once a second.
    ///
    /// They go to the recorder of the `metrics` crate; without one nothing happens. See
    /// [`histogram_buckets`](crate::report::histogram_buckets) for what a recorder should know.
    pub fn emit_metrics(&self) {
        metrics::describe();
        self.shared.emit_metrics();
    }

    /// `nats_mtls_certificate_info` in the Prometheus text format, to be appended to what the
    /// exporter renders: a series with open labels, so that old certificates vanish.
    #[must_use]
    pub fn certificate_info(&self) -> String {
        let active = self.shared.store.active();
        let report = self.shared.report();
        let connections = self.shared.registry.reports();
        let certificates = Certificates::new(active.as_deref(), report.as_ref(), &connections);
        certificate_info::render(&certificates)
    }

    /// The active snapshot; none before the first publish.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.shared.store.active()
    }

    /// Tells each new generation, from the first on; look at [`StatusHandle::snapshot`] after a
    /// change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Generation> {
        self.shared.store.subscribe()
    }

    /// The process is ending: not ready from now on.
    pub fn set_draining(&self) {
        info!("draining");
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// A task of the process's own, without which it is of no use, has ended: not alive from now on.
    /// Of several the first counts. For tasks of the library nobody needs to say so.
    pub fn set_task_ended(&self, task: &'static str) {
        self.shared.ended_task.set(task).ok();
    }

    /// As [`CertificateManager::reload`](crate::manager::CertificateManager::reload), also while the manager still waits for material.
    ///
    /// # Errors
    /// [`BuildError::Ended`] before the start and after the end.
    pub async fn reload(&self) -> Result<ReloadOutcome, BuildError> {
        let started = self.shared.started.get().ok_or(BuildError::Ended)?;
        let commands = started.commands.upgrade().ok_or(BuildError::Ended)?;
        builder::reload(&commands).await
    }
}

#[cfg(test)]
mod tests;
