//! The part of the `/status` document about relays: sums, never single sessions.

use std::collections::BTreeMap;

use serde::Serialize;

#[cfg(feature = "relay")]
use crate::relay::{HandoverReason, RelayFailure, RelayReport, SessionResult};

/// Relay sessions, as sums over all relays of the manager.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Where clients of other processes connect; null once it ended, or without any.
    pub listen: Option<String>,
    /// Clients now.
    pub sessions: u64,
    /// Of these, how many are not on the active generation yet.
    pub behind: u64,
    /// What became of every client that ever came.
    pub sessions_total: BTreeMap<&'static str, u64>,
    /// What became of the moves onto new generations.
    pub handovers: HandoverStatus,
    /// The last thing that went wrong with a session.
    pub last_failure: Option<RelayFailureStatus>,
}

/// What became of the moves onto new generations.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct HandoverStatus {
    /// The client noticed nothing.
    pub ok: u64,
    /// Given up: the old connection was kept.
    pub failed: u64,
    /// The client was told to reconnect instead.
    pub fallback: u64,
    /// Messages whose second copy never came; any number but 0 is worth a bug report.
    pub unmatched: u64,
    /// The failed ones by reason; reasons that did not occur are left out.
    pub failed_reasons: BTreeMap<&'static str, u64>,
    /// The fallbacks by reason; reasons that did not occur are left out.
    pub fallback_reasons: BTreeMap<&'static str, u64>,
}

/// The last thing that went wrong with a session.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RelayFailureStatus {
    /// Server and true cause.
    pub detail: String,
    /// RFC 3339.
    pub at: Option<String>,
}

#[cfg(feature = "relay")]
impl RelayStatus {
    pub(crate) fn of(report: &RelayReport, last_failure: Option<RelayFailure>) -> Self {
        let totals = |result: SessionResult| (result.as_str(), report.results_of(result));
        Self {
            listen: report.listen.map(|address| address.to_string()),
            sessions: report.sessions,
            behind: report.behind,
            sessions_total: SessionResult::ALL.into_iter().map(totals).collect(),
            handovers: HandoverStatus::of(report),
            last_failure: last_failure.map(|failure| RelayFailureStatus {
                at: super::timestamp(failure.at),
                detail: failure.detail,
            }),
        }
    }
}

#[cfg(feature = "relay")]
impl HandoverStatus {
    fn of(report: &RelayReport) -> Self {
        let failed_reasons = occurred(|reason| report.failed_for(reason));
        let fallback_reasons = occurred(|reason| report.fallback_for(reason));
        Self {
            ok: report.handovers_ok,
            failed: failed_reasons.values().sum(),
            fallback: fallback_reasons.values().sum(),
            unmatched: report.unmatched,
            failed_reasons,
            fallback_reasons,
        }
    }
}

#[cfg(feature = "relay")]
fn occurred(count: impl Fn(HandoverReason) -> u64) -> BTreeMap<&'static str, u64> {
    let all = HandoverReason::ALL.into_iter();
    all.map(|reason| (reason.as_str(), count(reason)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
