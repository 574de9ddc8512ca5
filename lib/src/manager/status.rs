//! Answers for the probes and the status, before, while and after there is a manager.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use super::builder::{self, BuildError};
use crate::clock;
use crate::nats::{ConnectionReport, Registry};
use crate::reload::{Command, ReloadOutcome, ReloadReport, Timing};
use crate::report::{Facts, Health, Status, health};
use crate::store::Store;

/// Answers for the probes and the status, at any time. Cheap to clone.
#[derive(Clone)]
pub struct StatusHandle {
    pub(super) shared: Arc<StatusShared>,
}

pub(super) struct StatusShared {
    pub(super) store: Arc<Store>,
    pub(super) registry: Arc<Registry>,
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
                started: OnceLock::new(),
                expects_connection: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                was_ready: AtomicBool::new(false),
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
            started: self.shared.has_started(&connections),
            not_ready,
            liveness,
        }
    }

    /// The process is ending: not ready from now on.
    pub fn set_draining(&self) {
        info!("draining");
        self.shared.draining.store(true, Ordering::Relaxed);
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
