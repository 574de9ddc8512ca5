//! The metrics of the relays: sums, so that a thousand sessions are as many series as one.

use std::time::Duration;

use ::metrics::{counter, gauge, histogram};

use super::{names, number};
use crate::relay::{HandoverReason, RelayReport, SessionResult};

/// What relays report at one moment.
pub(crate) struct MeasuredRelay {
    pub(crate) report: RelayReport,
    /// How long clients stood still in the handovers since the last emission; each is recorded once.
    pub(crate) stalls: Vec<Duration>,
}

pub(super) fn emit(measured: &MeasuredRelay) {
    let report = &measured.report;
    gauge!(names::RELAY_SESSIONS).set(number(report.sessions));
    for result in SessionResult::ALL {
        counter!(names::RELAY_SESSIONS_TOTAL, "result" => result.as_str())
            .absolute(report.results_of(result));
    }
    let handovers = |result: &'static str, reason: &'static str| counter!(names::RELAY_HANDOVERS, "result" => result, "reason" => reason);
    handovers("ok", "none").absolute(report.handovers_ok);
    for reason in HandoverReason::ALL {
        handovers("failed", reason.as_str()).absolute(report.failed_for(reason));
        handovers("fallback", reason.as_str()).absolute(report.fallback_for(reason));
    }
    let stalls = histogram!(names::RELAY_STALLS);
    for stall in &measured.stalls {
        stalls.record(*stall);
    }
    for (direction, traffic) in [
        ("upstream", report.upstream),
        ("downstream", report.downstream),
    ] {
        counter!(names::RELAY_BYTES, "direction" => direction).absolute(traffic.bytes);
        counter!(names::RELAY_MESSAGES, "direction" => direction).absolute(traffic.messages);
    }
}
