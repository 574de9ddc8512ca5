//! What startup, readiness and liveness mean. Pure: facts in, answers out.

use std::time::{Duration, Instant, SystemTime};

use crate::nats::{ConnectionReport, ConnectionState};
use crate::store::Snapshot;

/// Why a process is not ready. The names are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotReady {
    /// Nothing was published yet.
    NoMaterial,
    /// A connection was never up.
    Connecting,
    /// A connection is down.
    Disconnected,
    /// The active certificate has expired.
    Expired,
    /// The process is ending.
    Draining,
    /// A connection is closed for good.
    Closed,
}

impl NotReady {
    /// The name in `/status` and in the probes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoMaterial => "no_material",
            Self::Connecting => "connecting",
            Self::Disconnected => "disconnected",
            Self::Expired => "expired",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// Whether the tasks of this process still do their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// They do. NATS may be down, the files may be bad: a restart would not help.
    Alive,
    /// The task that reads the files ended.
    ReloadEnded,
    /// The task that reads the files has not come round for too long.
    ReloadStalled,
    /// A connection is closed for good; only a restart brings it back.
    ConnectionClosed,
    /// A task that the process itself watches over ended: this one.
    TaskEnded(&'static str),
}

impl Liveness {
    /// One word for the probe's answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::ReloadEnded => "reload_ended",
            Self::ReloadStalled => "reload_stalled",
            Self::ConnectionClosed => "connection_closed",
            Self::TaskEnded(_) => "task_ended",
        }
    }
}

/// The answers to the three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Was ready at least once.
    pub started: bool,
    /// Why it is not ready now; none if it is.
    pub not_ready: Option<NotReady>,
    /// Whether its tasks live.
    pub liveness: Liveness,
}

/// What readiness depends on.
pub(crate) struct Readiness<'a> {
    pub(crate) active: Option<&'a Snapshot>,
    pub(crate) connections: &'a [ConnectionReport],
    /// A connection is configured, though it may not be registered yet.
    pub(crate) expects_connection: bool,
    pub(crate) draining: bool,
    pub(crate) wall: SystemTime,
}

impl Readiness<'_> {
    /// Rejected or pending files never count: what is active still serves.
    pub(crate) fn judge(&self) -> Option<NotReady> {
        let any = |state| self.connections.iter().any(|report| report.state == state);
        if self.draining || any(ConnectionState::Draining) {
            return Some(NotReady::Draining);
        }
        let Some(active) = self.active else {
            return Some(NotReady::NoMaterial);
        };
        if any(ConnectionState::Closed) {
            Some(NotReady::Closed)
        } else if active.material().is_expired(self.wall) {
            Some(NotReady::Expired)
        } else if any(ConnectionState::Disconnected) {
            Some(NotReady::Disconnected)
        } else if any(ConnectionState::Connecting)
            || (self.expects_connection && self.connections.is_empty())
        {
            Some(NotReady::Connecting)
        } else {
            None
        }
    }
}

/// Judges liveness. `beat` is when the reload task last came round, none once it ended.
pub(crate) fn liveness(
    beat: Option<Instant>,
    now: Instant,
    patience: Duration,
    connections: &[ConnectionReport],
) -> Liveness {
    match beat {
        None => Liveness::ReloadEnded,
        Some(beat) if now.saturating_duration_since(beat) > patience => Liveness::ReloadStalled,
        Some(_)
            if connections
                .iter()
                .any(|report| report.state == ConnectionState::Closed) =>
        {
            Liveness::ConnectionClosed
        }
        Some(_) => Liveness::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_does_not_come_round_is_stalled_once_patience_is_over() {
        let beat = Instant::now();
        let patience = Duration::from_secs(60);
        let after = |passed| liveness(Some(beat), beat + passed, patience, &[]);
        assert_eq!(after(Duration::ZERO), Liveness::Alive);
        assert_eq!(after(patience), Liveness::Alive);
        assert_eq!(
            after(patience + Duration::from_nanos(1)),
            Liveness::ReloadStalled
        );
        assert_eq!(liveness(None, beat, patience, &[]), Liveness::ReloadEnded);
    }
}
