//! The `/status` document. Its JSON Schema lies in the repository; keys are stable, more may come.

use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::material::{CertificateFacts, Rejection, Warning};
use crate::nats::ConnectionReport;
use crate::reload::{ReloadOutcome, ReloadReport, Verdict};
use crate::report::health::NotReady;
use crate::report::relay::RelayStatus;
use crate::report::runs_on_restored;
use crate::store::{GateAnswer, Snapshot};

/// Grows when a key changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that is known, at one moment. What is unknown is null.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The active generation; 0 is none.
    pub generation: u64,
    /// The generation that failed, if the active one is a rollback.
    pub rolled_back_from: Option<u64>,
    /// Whether the process is ready.
    pub ready: bool,
    /// Why not.
    pub reason: Option<&'static str>,
    /// Accepted, but somebody should look.
    pub warnings: Vec<&'static str>,
    /// What is published.
    pub active: Option<ActiveStatus>,
    /// What the files hold.
    pub disk: DiskStatus,
    /// The last outcome.
    pub last_reload: Option<ReloadStatus>,
    /// The last rejection, kept after recovery.
    pub last_rejection: Option<RejectionStatus>,
    /// The last answer of the servers about a candidate.
    pub last_preflight: Option<PreflightStatus>,
    /// How changes are noticed.
    pub watcher: WatcherStatus,
    /// The managed connections.
    pub connections: Vec<ConnectionStatus>,
    /// Relay sessions, as sums; null without a relay.
    pub relay: Option<RelayStatus>,
}

/// One certificate.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CertificateStatus {
    /// As nats-server prints it.
    pub subject: String,
    /// The issuer, in the same form.
    pub issuer: String,
    /// Subject alternative names, each with its kind.
    pub sans: Vec<String>,
    /// Lower-case hex.
    pub serial: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint_sha256: String,
    /// SHA-256 of the public key, lower-case hex.
    pub spki_sha256: String,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// The names `verify_and_map` tries, in its order.
    pub nats_users: Vec<String>,
}

/// What is published.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ActiveStatus {
    /// When it was published, also as a rollback; RFC 3339.
    pub since: Option<String>,
    /// The certificate clients present.
    pub leaf: CertificateStatus,
    /// The whole chain, leaf first.
    pub chain: Vec<CertificateStatus>,
    /// The trusted roots.
    pub roots: Vec<CertificateStatus>,
}

/// What the files hold, in relation to what is active.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DiskStatus {
    /// `active`, `settling`, `pending`, `rejected` or `unreadable`.
    pub verdict: &'static str,
    /// Why they are not active.
    pub reason: Option<&'static str>,
    /// File, position and field.
    pub detail: Option<String>,
    /// Since when they differ from what is active; RFC 3339.
    pub differs_since: Option<String>,
    /// The leaf, if it can be read at all.
    pub leaf: Option<CertificateStatus>,
}

/// The last outcome.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ReloadStatus {
    /// `published`, `unchanged` or `rejected`.
    pub result: &'static str,
    /// Why it was rejected.
    pub reason: Option<&'static str>,
    /// RFC 3339.
    pub at: Option<String>,
}

/// The last rejection.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RejectionStatus {
    /// From the closed list of reasons.
    pub reason: &'static str,
    /// The file it is about; null when a server said no.
    pub part: Option<&'static str>,
    /// File, position and field.
    pub detail: String,
    /// What to do about it.
    pub advice: &'static str,
    /// RFC 3339.
    pub at: Option<String>,
}

/// The last answer of the servers.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PreflightStatus {
    /// `accepted`, `refused`, `pending` or `not_asked`.
    pub result: &'static str,
    /// What was seen.
    pub detail: Option<String>,
    /// RFC 3339.
    pub at: Option<String>,
}

/// How changes are noticed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WatcherStatus {
    /// `inotify` or `poll`.
    pub mode: Option<&'static str>,
}

/// One managed connection.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConnectionStatus {
    /// Its component name.
    pub name: String,
    /// The server it is, or was last, connected to.
    pub server: Option<String>,
    /// The id of that server: `server_id` of its monitoring.
    pub server_id: Option<String>,
    /// The number of the connection there: `cid` in `/connz`.
    pub client_id: Option<u64>,
    /// `connecting`, `connected`, `disconnected`, `draining` or `closed`.
    pub state: &'static str,
    /// The generation it presented last.
    pub generation: Option<u64>,
    /// Whether the server asked for the certificate; null before the first handshake.
    pub presented: Option<bool>,
    /// Since when it is in this state; RFC 3339.
    pub since: Option<String>,
    /// The true cause of the last failed attempt.
    pub last_error: Option<String>,
    /// How many attempts failed, since the process started.
    pub failed_attempts: u64,
}

/// What the layers know, before it becomes JSON.
pub(crate) struct Facts<'a> {
    pub(crate) active: Option<&'a Snapshot>,
    pub(crate) reload: Option<&'a ReloadReport>,
    pub(crate) connections: &'a [ConnectionReport],
    pub(crate) not_ready: Option<NotReady>,
    pub(crate) relay: Option<RelayStatus>,
}

impl Status {
    pub(crate) fn of(facts: Facts<'_>) -> Self {
        let reload = facts.reload;
        Self {
            schema_version: SCHEMA_VERSION,
            generation: facts
                .active
                .map_or(0, |active| active.generation().number()),
            rolled_back_from: facts
                .active
                .and_then(|active| active.rolled_back_from())
                .map(|generation| generation.number()),
            ready: facts.not_ready.is_none(),
            reason: facts.not_ready.map(NotReady::as_str),
            warnings: warnings(&facts),
            active: facts.active.map(ActiveStatus::of),
            disk: DiskStatus::of(reload),
            last_reload: reload
                .and_then(|report| report.last_reload.as_ref())
                .map(|last| ReloadStatus::of(&last.outcome, last.at)),
            last_rejection: reload
                .and_then(|report| report.last_rejection.as_ref())
                .map(|(rejection, at)| RejectionStatus::of(rejection, *at)),
            last_preflight: reload
                .and_then(|report| report.last_preflight.as_ref())
                .map(|last| PreflightStatus::of(&last.answer, last.at)),
            watcher: WatcherStatus {
                mode: reload.map(|report| report.watcher_mode.as_str()),
            },
            connections: facts.connections.iter().map(ConnectionStatus::of).collect(),
            relay: facts.relay,
        }
    }
}

fn warnings(facts: &Facts<'_>) -> Vec<&'static str> {
    let material = facts
        .active
        .into_iter()
        .flat_map(|active| active.material().warnings());
    let pinned = facts
        .reload
        .filter(|report| !report.source_warnings.is_empty())
        .map(|_| Warning::PinnedMount);
    let restored = runs_on_restored(facts.active, facts.reload).then_some(Warning::Restored);
    let mut warnings: Vec<_> = material.copied().chain(pinned).chain(restored).collect();
    warnings.sort_unstable();
    warnings.dedup();
    warnings.into_iter().map(Warning::as_str).collect()
}

impl From<&CertificateFacts> for CertificateStatus {
    fn from(facts: &CertificateFacts) -> Self {
        Self {
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            sans: facts.sans.clone(),
            serial: facts.serial.clone(),
            fingerprint_sha256: facts.fingerprint_sha256.to_string(),
            spki_sha256: facts.spki_sha256.to_string(),
            not_before: timestamp(facts.not_before),
            not_after: timestamp(facts.not_after),
            nats_users: facts.nats_users.clone(),
        }
    }
}

impl ActiveStatus {
    fn of(snapshot: &Snapshot) -> Self {
        let facts = snapshot.material().facts();
        Self {
            since: timestamp(snapshot.published_at()),
            leaf: facts.leaf().into(),
            chain: facts.chain.iter().map(CertificateStatus::from).collect(),
            roots: facts.roots.iter().map(CertificateStatus::from).collect(),
        }
    }
}

impl DiskStatus {
    fn of(reload: Option<&ReloadReport>) -> Self {
        let rejection = reload.and_then(|report| report.disk_rejection.as_ref());
        Self {
            verdict: reload
                .map_or(Verdict::Unreadable, |report| report.verdict)
                .as_str(),
            reason: rejection.map(|rejection| rejection.reason.as_str()),
            detail: rejection.map(|rejection| rejection.detail.clone()),
            differs_since: reload
                .and_then(|report| report.disk_differs_since)
                .and_then(timestamp),
            leaf: reload
                .and_then(|report| report.disk.chain.first())
                .map(CertificateStatus::from),
        }
    }
}

impl ReloadStatus {
    fn of(outcome: &ReloadOutcome, at: SystemTime) -> Self {
        let (result, reason) = match outcome {
            ReloadOutcome::Published(_) => ("published", None),
            ReloadOutcome::Rejected(rejection) => ("rejected", Some(rejection.reason.as_str())),
            ReloadOutcome::Unchanged | ReloadOutcome::Pending { .. } => ("unchanged", None),
        };
        Self {
            result,
            reason,
            at: timestamp(at),
        }
    }
}

impl RejectionStatus {
    /// A rejection as people and machines read it.
    #[must_use]
    pub fn of(rejection: &Rejection, at: SystemTime) -> Self {
        Self {
            reason: rejection.reason.as_str(),
            part: rejection.part.map(|part| part.as_str()),
            detail: rejection.detail.clone(),
            advice: rejection.reason.advice(),
            at: timestamp(at),
        }
    }
}

impl PreflightStatus {
    /// An answer as people and machines read it.
    #[must_use]
    pub fn of(answer: &GateAnswer, at: SystemTime) -> Self {
        let (result, detail) = match answer {
            GateAnswer::Accepted => ("accepted", None),
            GateAnswer::NotAsked { why } => ("not_asked", Some((*why).to_owned())),
            GateAnswer::Refused(rejection) => ("refused", Some(rejection.detail.clone())),
            GateAnswer::Pending { detail } => ("pending", Some(detail.clone())),
        };
        Self {
            result,
            detail,
            at: timestamp(at),
        }
    }
}

impl ConnectionStatus {
    fn of(report: &ConnectionReport) -> Self {
        Self {
            name: report.component.clone(),
            server: report.server.clone(),
            server_id: report.server_id.clone(),
            client_id: report.client_id,
            state: report.state.as_str(),
            generation: report.generation.map(|generation| generation.number()),
            presented: report.presented,
            since: timestamp(report.since),
            last_error: report.last_error.clone(),
            failed_attempts: report.totals.failed_attempts.total(),
        }
    }
}

/// RFC 3339 in UTC, to the second; none for a time no calendar has.
#[must_use]
pub fn timestamp(time: SystemTime) -> Option<String> {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok()?,
        Err(before) => i64::try_from(before.duration().as_secs())
            .ok()?
            .checked_neg()?,
    };
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()?
        .format(&Rfc3339)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_utc_to_the_second() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_000_000_999);
        assert_eq!(timestamp(time).as_deref(), Some("2026-11-18T11:06:40Z"));
    }
}
