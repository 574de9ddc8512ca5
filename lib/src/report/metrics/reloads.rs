//! The metrics of the files and of what became of them.

use ::metrics::{counter, gauge};

use super::{names, unix_seconds};
use crate::material::Reason;
use crate::reload::{ReloadCounts, ReloadOutcome, ReloadReport, Verdict};
use crate::source::WatcherMode;

pub(super) fn emit(report: Option<&ReloadReport>) {
    let nothing = ReloadCounts::default();
    emit_counts(report.map_or(&nothing, |report| &report.counts));
    let successful = report.is_some_and(is_successful);
    gauge!(names::LAST_RELOAD_SUCCESSFUL).set(flag(successful));
    let mode = report.map(|report| report.watcher_mode);
    for known in [WatcherMode::Notified, WatcherMode::Poll] {
        gauge!(names::WATCHER_MODE, "mode" => known.as_str()).set(flag(mode == Some(known)));
    }
    if let Some(at) = report.and_then(|report| report.last_success) {
        gauge!(names::LAST_RELOAD_SUCCESS).set(unix_seconds(at));
    }
    // Before the first reading nobody knows what the files hold.
    if let Some(report) = report.filter(|report| report.counts.reads > 0) {
        let since = report.disk_differs_since.map_or(0.0, unix_seconds);
        gauge!(names::DISK_DIFFERS_SINCE).set(since);
    }
}

fn emit_counts(counts: &ReloadCounts) {
    let reloads = |result: &'static str, reason: &'static str| counter!(names::RELOADS, "result" => result, "reason" => reason);
    reloads("published", "none").absolute(counts.published);
    reloads("unchanged", "none").absolute(counts.unchanged);
    for reason in Reason::ALL {
        let rejected = counts.rejected.get(reason.as_str());
        reloads("rejected", reason.as_str()).absolute(rejected.copied().unwrap_or_default());
    }
    for (result, count) in [
        ("accepted", counts.preflights_accepted),
        ("refused", counts.preflights_refused),
        ("pending", counts.preflights_pending),
    ] {
        counter!(names::PREFLIGHTS, "result" => result).absolute(count);
    }
    for (reason, count) in [
        ("tls", counts.rollbacks_tls),
        ("auth", counts.rollbacks_auth),
    ] {
        counter!(names::ROLLBACKS, "reason" => reason).absolute(count);
    }
}

/// A set that waits is good: what was rejected before it is gone. Files that may be half-written
/// are neither yet: the outcome before them counts.
fn is_successful(report: &ReloadReport) -> bool {
    match report.verdict {
        Verdict::Rejected | Verdict::Unreadable => false,
        Verdict::Active | Verdict::Pending => true,
        Verdict::Settling => {
            let last = report.last_reload.as_ref().map(|last| &last.outcome);
            matches!(
                last,
                Some(ReloadOutcome::Published(_) | ReloadOutcome::Unchanged)
            )
        }
    }
}

fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}
