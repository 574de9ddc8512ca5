//! What came of telling, hook by hook: for the status, the metrics and whoever waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use nats_mtls::report::timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::errand::Attempt;

const TOTAL: &str = "nats_mtls_notify_total";
const FAILING: &str = "nats_mtls_notify_failing";

/// The ways to tell. The names are label values and keys of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Signal,
    Exec,
    Http,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Signal, Self::Exec, Self::Http];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Exec => "exec",
            Self::Http => "http",
        }
    }

    /// The name of its task, for liveness.
    pub(super) const fn task(self) -> &'static str {
        match self {
            Self::Signal => "signal hook",
            Self::Exec => "exec hook",
            Self::Http => "http hook",
        }
    }
}

/// What is known of every hook. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    hooks: Arc<Mutex<Vec<HookReport>>>,
    /// Told with each change.
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct HookReport {
    kind: Kind,
    target: String,
    state: State,
    last: Option<Last>,
    succeeded: u64,
    failed: u64,
    /// The newest generation that was told.
    told: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Idle,
    Running,
    Retrying,
}

/// How the last run ended.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) attempt: Attempt,
    pub(super) at: SystemTime,
    /// None if it succeeded.
    pub(super) failure: Option<String>,
}

/// The hooks in `/status`: one key each, null if it is not set up.
#[derive(Debug, Serialize)]
pub(crate) struct NotifyStatus {
    signal: Option<HookStatus>,
    exec: Option<HookStatus>,
    http: Option<HookStatus>,
}

#[derive(Debug, Serialize)]
struct HookStatus {
    target: String,
    state: State,
    generation: Option<u64>,
    result: Option<&'static str>,
    reason: Option<String>,
    at: Option<String>,
    attempts: Option<u32>,
}

impl Board {
    pub(super) fn new(hooks: impl IntoIterator<Item = (Kind, String)>) -> Self {
        let report = |(kind, target)| HookReport {
            kind,
            target,
            state: State::Idle,
            last: None,
            succeeded: 0,
            failed: 0,
            told: None,
        };
        Self {
            hooks: Arc::new(Mutex::new(hooks.into_iter().map(report).collect())),
            changes: watch::Sender::new(()),
        }
    }

    /// Whether nobody is ever told.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn handle_start(&self, kind: Kind) {
        self.update(kind, |hook| hook.state = State::Running);
    }

    /// How a run ended, and whether there will be another.
    pub(super) fn handle_end(&self, kind: Kind, last: Last, is_retried: bool) {
        self.update(kind, |hook| {
            match last.failure {
                None => {
                    hook.succeeded += 1;
                    hook.told = hook.told.max(Some(last.attempt.generation));
                }
                Some(_) => hook.failed += 1,
            }
            hook.state = if is_retried {
                State::Retrying
            } else {
                State::Idle
            };
            hook.last = Some(last);
        });
    }

    /// Nothing will be told for now; what failed before is history.
    pub(super) fn handle_silence(&self, kind: Kind) {
        self.update(kind, |hook| hook.state = State::Idle);
    }

    /// Resolves when every hook has tried to tell of this generation, or of a newer one.
    pub(crate) async fn tried(&self, generation: u64) {
        self.all(|hook| {
            let last = hook.last.as_ref();
            last.is_some_and(|last| last.attempt.generation >= generation)
        })
        .await;
    }

    /// Resolves when every hook has told of this generation, or of a newer one.
    pub(super) async fn succeeded(&self, generation: u64) {
        self.all(|hook| hook.told >= Some(generation)).await;
    }

    async fn all(&self, is_so: impl Fn(&HookReport) -> bool) {
        let mut changes = self.changes.subscribe();
        while !self.lock().iter().all(&is_so) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn has_hooks(&self) -> bool {
        !self.lock().is_empty()
    }

    /// None without a hook.
    pub(crate) fn status(&self) -> Option<NotifyStatus> {
        let hooks = self.lock();
        let of = |kind| {
            hooks
                .iter()
                .find(|hook| hook.kind == kind)
                .map(HookReport::status)
        };
        (!hooks.is_empty()).then(|| NotifyStatus {
            signal: of(Kind::Signal),
            exec: of(Kind::Exec),
            http: of(Kind::Http),
        })
    }

    /// Sets the metrics to what is known now; counters of hooks that are not set up stay 0.
    pub(crate) fn emit_metrics(&self) {
        describe_counter!(TOTAL, Unit::Count, "Runs of a hook, by what came of them.");
        describe_gauge!(
            FAILING,
            Unit::Count,
            "1 while the newest generation could not be told, else 0."
        );
        let hooks = self.lock();
        for kind in Kind::ALL {
            let hook = hooks.iter().find(|hook| hook.kind == kind);
            let (succeeded, failed) = hook.map_or((0, 0), |hook| (hook.succeeded, hook.failed));
            for (result, count) in [("ok", succeeded), ("failed", failed)] {
                counter!(TOTAL, "kind" => kind.as_str(), "result" => result).absolute(count);
            }
            if let Some(hook) = hook {
                let failing = if hook.is_failing() { 1.0 } else { 0.0 };
                gauge!(FAILING, "kind" => kind.as_str()).set(failing);
            }
        }
    }

    fn update(&self, kind: Kind, change: impl FnOnce(&mut HookReport)) {
        if let Some(hook) = self.lock().iter_mut().find(|hook| hook.kind == kind) {
            change(hook);
        }
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<HookReport>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HookReport {
    /// Also while it is tried again.
    fn is_failing(&self) -> bool {
        let has_failed = self
            .last
            .as_ref()
            .is_some_and(|last| last.failure.is_some());
        has_failed && self.state != State::Idle
    }

    fn status(&self) -> HookStatus {
        let last = self.last.as_ref();
        HookStatus {
            target: self.target.clone(),
            state: self.state,
            generation: last.map(|last| last.attempt.generation),
            result: last.map(|last| {
                if last.failure.is_none() {
                    "ok"
                } else {
                    "failed"
                }
            }),
            reason: last.and_then(|last| last.failure.clone()),
            at: last.and_then(|last| timestamp(last.at)),
            attempts: last.map(|last| last.attempt.number),
        }
    }
}
