//! What the reload task knows, and how it changes: a board that the task writes and others read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use crate::clock;
use crate::material::{self, Inspection, Material, Rejection};
use crate::reload::task::RollbackReason;
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
#[non_exhaustive]
pub struct LastReload {
    /// Published, unchanged or rejected.
    pub outcome: ReloadOutcome,
    /// When, by the local clock.
    pub at: SystemTime,
}

/// The last answer of the gate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LastPreflight {
    /// What it answered.
    pub answer: GateAnswer,
    /// When, by the local clock.
    pub at: SystemTime,
}

/// How often each thing happened since the process started.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReloadCounts {
    /// Generations published, rollbacks included.
    pub published: u64,
    /// Outcomes that found what is active already: somebody asked, or the files went back to it
    /// after a rejection.
    pub unchanged: u64,
    /// Rejections, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Candidates that the gate accepted.
    pub preflights_accepted: u64,
    /// Answers of the gate that refused a candidate.
    pub preflights_refused: u64,
    /// Answers of the gate that meant nothing.
    pub preflights_pending: u64,
    /// Generations that took back one whose certificates were refused.
    pub rollbacks_tls: u64,
    /// Generations that took back one whose user was not authorized.
    pub rollbacks_auth: u64,
    /// Reads of the source.
    pub reads: u64,
}

/// What the reload task knows; replaced as a whole, so that a reader sees one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadReport {
    /// What the files hold.
    pub verdict: Verdict,
    /// Why, if they are not active.
    pub disk_rejection: Option<Rejection>,
    /// The certificates the files hold, as far as they can be read at all.
    pub disk: Arc<Inspection>,
    /// Since when the files differ from what is active.
    pub disk_differs_since: Option<SystemTime>,
    /// The last outcome; `unchanged` only where somebody asked for a reload, or where the files
    /// went back to what is active after a rejection.
    pub last_reload: Option<LastReload>,
    /// When something acceptable was judged last: published, or unchanged as above.
    pub last_success: Option<SystemTime>,
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

impl ReloadReport {
    fn succeeded(&mut self, outcome: ReloadOutcome) {
        let at = clock::now();
        self.last_success = Some(at);
        self.last_reload = Some(LastReload { outcome, at });
    }
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
            disk: Arc::default(),
            disk_differs_since: None,
            last_reload: None,
            last_success: None,
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
        self.0.send_modify(|report| {
            match &answer {
                GateAnswer::Accepted => report.counts.preflights_accepted += 1,
                GateAnswer::Refused(_) => report.counts.preflights_refused += 1,
                GateAnswer::Pending { .. } => report.counts.preflights_pending += 1,
                GateAnswer::NotAsked { .. } => {}
            }
            report.last_preflight = Some(LastPreflight { answer, at });
        });
    }

    /// The files hold what is active. `asked` says whether somebody waits for that answer.
    pub(super) fn in_step(&self, active: Option<&Material>, asked: bool) {
        self.0.send_modify(|report| {
            let rejected = |last: &LastReload| matches!(last.outcome, ReloadOutcome::Rejected(_));
            if asked || report.last_reload.as_ref().is_some_and(rejected) {
                report.counts.unchanged += 1;
                report.succeeded(ReloadOutcome::Unchanged);
            }
            report.verdict = Verdict::Active;
            report.disk_rejection = None;
            report.disk_differs_since = None;
            let facts = active.map(Material::facts);
            // Asked at each poll: an unchanged set is not copied again.
            if let Some(facts) = facts.filter(|facts| !report.disk.is_of(facts)) {
                report.disk = Arc::new(facts.into());
            }
        });
    }

    /// The files hold something else.
    pub(super) fn differs(&self, verdict: Verdict, rejection: Option<Rejection>, read: Read<'_>) {
        self.0.send_modify(|report| {
            report.verdict = verdict;
            report.disk_rejection = rejection;
            report.disk_differs_since.get_or_insert_with(clock::now);
            if let Some(read) = read {
                report.disk = Arc::new(read.as_ref().map(material::inspect).unwrap_or_default());
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

    pub(super) fn published(&self, generation: Generation, rollback: Option<RollbackReason>) {
        self.0.send_modify(|report| {
            report.counts.published += 1;
            match rollback {
                None => {}
                Some(RollbackReason::Tls) => report.counts.rollbacks_tls += 1,
                Some(RollbackReason::Auth) => report.counts.rollbacks_auth += 1,
            }
            report.succeeded(ReloadOutcome::Published(generation));
        });
    }
}
