//! What the reload task knows, and how it changes: a board that the task writes and others read.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use crate::clock;
use crate::material::{self, CertificateFacts, Rejection};
use crate::source::{RawMaterial, ReadError, Source, SourceWarning, WatcherMode};
use crate::store::{GateAnswer, Generation};

/// What one `reload()` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadOutcome {
    /// A new generation is active.
    Published(Generation),
    /// The files hold what is active already.
    Unchanged,
    /// The files are not acceptable; what was active stays active.
    Rejected(Rejection),
    /// The files are good but no server could be asked; asked again by itself.
    Pending {
        /// What was seen, each server named.
        detail: String,
    },
}

/// What the files hold, in relation to what is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The same as what is active.
    Active,
    /// Bad, but perhaps only half-written.
    Settling,
    /// Good, and waiting for its turn or for a server's answer.
    Pending,
    /// Not acceptable.
    Rejected,
    /// Not even readable.
    Unreadable,
}

impl Verdict {
    /// The name in `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Settling => "settling",
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The last thing that happened to a candidate.
#[derive(Debug, Clone)]
pub struct LastReload {
    /// Published, unchanged or rejected.
    pub outcome: ReloadOutcome,
    /// When, by the local clock.
    pub at: SystemTime,
}

/// The last answer of the gate.
#[derive(Debug, Clone)]
pub struct LastPreflight {
    /// What it answered.
    pub answer: GateAnswer,
    /// When, by the local clock.
    pub at: SystemTime,
}

/// How often each thing happened since the process started.
#[derive(Debug, Clone, Default)]
pub struct ReloadCounts {
    /// Generations published, rollbacks included.
    pub published: u64,
    /// Rejections, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Generations that took back a failed one.
    pub rollbacks: u64,
    /// Reads of the source.
    pub reads: u64,
}

/// What the reload task knows; replaced as a whole, so that a reader sees one moment.
#[derive(Debug, Clone)]
pub struct ReloadReport {
    /// What the files hold.
    pub verdict: Verdict,
    /// Why, if they are not active.
    pub disk_rejection: Option<Rejection>,
    /// The leaf the files hold, if it can be read at all.
    pub disk_leaf: Option<CertificateFacts>,
    /// Since when the files differ from what is active.
    pub disk_differs_since: Option<SystemTime>,
    /// The last outcome; `unchanged` only where somebody asked for a reload.
    pub last_reload: Option<LastReload>,
    /// The last rejection, kept after recovery.
    pub last_rejection: Option<(Rejection, SystemTime)>,
    /// The last answer of the gate.
    pub last_preflight: Option<LastPreflight>,
    /// Standing conditions of the source.
    pub source_warnings: Vec<SourceWarning>,
    /// How changes are noticed.
    pub watcher_mode: WatcherMode,
    /// Totals.
    pub counts: ReloadCounts,
    /// When the task last came round, to see that it lives.
    pub beat: Instant,
}

/// What was read, if a verdict comes from a read.
pub(super) type Read<'a> = Option<&'a Result<RawMaterial, ReadError>>;

/// The writing end.
pub(super) struct Board(watch::Sender<ReloadReport>);

impl Board {
    pub(super) fn new(source: &dyn Source) -> (Self, watch::Receiver<ReloadReport>) {
        let (board, reader) = watch::channel(ReloadReport {
            verdict: Verdict::Unreadable,
            disk_rejection: None,
            disk_leaf: None,
            disk_differs_since: None,
            last_reload: None,
            last_rejection: None,
            last_preflight: None,
            source_warnings: Vec::new(),
            watcher_mode: source.watcher_mode(),
            counts: ReloadCounts::default(),
            beat: tokio::time::Instant::now().into_std(),
        });
        (Self(board), reader)
    }

    pub(super) fn came_round(&self, source: &dyn Source) {
        self.0.send_modify(|report| {
            report.beat = tokio::time::Instant::now().into_std();
            report.counts.reads += 1;
            report.watcher_mode = source.watcher_mode();
            report.source_warnings = source.warnings();
        });
    }

    pub(super) fn answered(&self, answer: GateAnswer) {
        let at = clock::now();
        self.0
            .send_modify(|report| report.last_preflight = Some(LastPreflight { answer, at }));
    }

    /// The files hold what is active.
    pub(super) fn in_step(&self, active_leaf: Option<CertificateFacts>) {
        self.0.send_modify(|report| {
            report.verdict = Verdict::Active;
            report.disk_rejection = None;
            report.disk_leaf = active_leaf;
            report.disk_differs_since = None;
        });
    }

    /// The files hold something else.
    pub(super) fn differs(&self, verdict: Verdict, rejection: Option<Rejection>, read: Read<'_>) {
        self.0.send_modify(|report| {
            report.verdict = verdict;
            report.disk_rejection = rejection;
            report.disk_differs_since.get_or_insert_with(clock::now);
            if let Some(read) = read {
                let leaf = |raw| material::inspect(raw).chain.into_iter().next();
                report.disk_leaf = read.as_ref().ok().and_then(leaf);
            }
        });
    }

    /// Counts a rejection that is seen for the first time.
    pub(super) fn rejected(&self, rejection: &Rejection) {
        let at = clock::now();
        self.0.send_modify(|report| {
            let count = report.counts.rejected.entry(rejection.reason.as_str());
            *count.or_default() += 1;
            report.last_rejection = Some((rejection.clone(), at));
            report.last_reload = Some(LastReload {
                outcome: ReloadOutcome::Rejected(rejection.clone()),
                at,
            });
        });
    }

    pub(super) fn published(&self, generation: Generation, rollback: bool) {
        let outcome = ReloadOutcome::Published(generation);
        let at = clock::now();
        self.0.send_modify(|report| {
            report.counts.published += 1;
            report.counts.rollbacks += u64::from(rollback);
            report.last_reload = Some(LastReload { outcome, at });
        });
    }
}
