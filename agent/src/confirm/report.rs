//! What came of asking, for the status and the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use nats_mtls::report::timestamp;
use serde::Serialize;

use super::verdict::Verdict;

const TOTAL: &str = "nats_mtls_confirm_total";
const STATE: &str = "nats_mtls_confirm_state";

/// Whose certificate is looked at. The names are label values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The agent's own connection.
    Connection,
    /// Every connection of a name.
    Clients,
    Server,
}

/// The labels of a verdict.
const RESULTS: [&str; 3] = ["confirmed", "not_confirmed", "unsupported"];

/// What is known. Cheap to clone; without a target nothing is ever asked.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    target: Option<Target>,
    /// Of the connections that are looked at.
    name: Option<Arc<str>>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    generation: Option<u64>,
    /// Of that generation; none while it is open.
    verdict: Option<(Verdict, SystemTime)>,
    /// Also of an earlier one.
    last: Option<&'static str>,
    /// In the order of [`RESULTS`].
    totals: [u64; RESULTS.len()],
}

/// The confirmation in `/status`.
#[derive(Debug, Serialize)]
pub(crate) struct ConfirmStatus {
    target: &'static str,
    name: Option<String>,
    generation: Option<u64>,
    result: Option<&'static str>,
    reason: Option<String>,
    at: Option<String>,
}

impl Board {
    pub(super) fn new(target: Option<Target>, name: Option<&str>) -> Self {
        Self {
            target,
            name: name.map(Arc::from),
            known: Arc::default(),
        }
    }

    pub(super) fn handle_open(&self, generation: u64) {
        let mut known = self.lock();
        known.generation = Some(generation);
        known.verdict = None;
    }

    pub(super) fn handle_verdict(&self, verdict: Verdict, at: SystemTime) {
        let mut known = self.lock();
        let result = verdict.as_str();
        for (name, total) in RESULTS.iter().zip(&mut known.totals) {
            *total += u64::from(*name == result);
        }
        known.last = Some(result);
        known.verdict = Some((verdict, at));
    }

    /// None if nothing is to be confirmed.
    pub(crate) fn status(&self) -> Option<ConfirmStatus> {
        let known = self.lock();
        let verdict = known.verdict.as_ref();
        Some(ConfirmStatus {
            target: self.target?.as_str(),
            name: self.name.as_deref().map(str::to_owned),
            generation: known.generation,
            result: verdict.map(|(verdict, _)| verdict.as_str()),
            reason: verdict.and_then(|(verdict, _)| verdict.reason().map(str::to_owned)),
            at: verdict.and_then(|(_, at)| timestamp(*at)),
        })
    }

    /// Sets the metrics to what is known now; counters of what is not asked stay 0.
    pub(crate) fn emit_metrics(&self) {
        describe_counter!(TOTAL, Unit::Count, "Verdicts on whether a rotation took.");
        describe_gauge!(
            STATE,
            Unit::Count,
            "1 for the last verdict, 0 for the others."
        );
        let known = self.lock();
        for target in [Target::Connection, Target::Clients, Target::Server] {
            let is_ours = self.target == Some(target);
            for (result, total) in RESULTS.into_iter().zip(known.totals) {
                let total = if is_ours { total } else { 0 };
                counter!(TOTAL, "target" => target.as_str(), "result" => result).absolute(total);
                if is_ours {
                    let state = if known.last == Some(result) { 1.0 } else { 0.0 };
                    gauge!(STATE, "target" => target.as_str(), "result" => result).set(state);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Clients => "clients",
            Self::Server => "server",
        }
    }
}

impl Verdict {
    pub(super) const fn as_str(&self) -> &'static str {
        let [confirmed, not_confirmed, unsupported] = RESULTS;
        match self {
            Self::Confirmed => confirmed,
            Self::NotConfirmed(_) => not_confirmed,
            Self::Unsupported(_) => unsupported,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Confirmed => None,
            Self::NotConfirmed(why) | Self::Unsupported(why) => Some(why),
        }
    }
}
