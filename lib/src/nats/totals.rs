//! What a connection has been through, in numbers. Owns the counting; whoever reports them makes
//! metrics of them.

use std::time::{Duration, Instant};

use crate::nats::cause::Cause;
use crate::nats::event::ConnectionEvent;
use crate::nats::failure::FailureKind;

/// One number for each cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByCause([u64; Cause::ALL.len()]);

impl ByCause {
    /// How often `cause` was it.
    #[must_use]
    pub fn of(&self, cause: Cause) -> u64 {
        self.0.get(cause as usize).copied().unwrap_or_default()
    }

    /// How often it happened at all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn count(&mut self, cause: Cause) {
        if let Some(number) = self.0.get_mut(cause as usize) {
            *number += 1;
        }
    }
}

/// Attempts to connect that failed, by what their failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FailedAttempts {
    /// Certificates were refused, by the server or by us.
    pub tls: u64,
    /// The user was not authorized.
    pub auth: u64,
    /// Nobody answered, or the answer says nothing about the material.
    pub network: u64,
}

impl FailedAttempts {
    /// How many there were, whatever their failure means.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.tls + self.auth + self.network
    }

    pub(crate) fn count(&mut self, kind: FailureKind) {
        match kind {
            FailureKind::CertificateRefused
            | FailureKind::ServerUntrusted
            | FailureKind::PlatformRoots => self.tls += 1,
            FailureKind::Authorization => self.auth += 1,
            FailureKind::Unavailable => self.network += 1,
        }
    }

    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            tls: self.tls + more.tls,
            auth: self.auth + more.auth,
            network: self.network + more.network,
        }
    }
}

/// Totals of one component. They go on counting if a connection of the same name is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConnectionTotals {
    /// How often it came up.
    pub connects: u64,
    /// Attempts that failed. Those of a pass over several servers are counted when the next pass
    /// begins.
    pub failed_attempts: FailedAttempts,
    /// How often it went down.
    pub disconnects: ByCause,
    /// How often it came up again, by what kept it down: the cause of the disconnect, or `tls` or `auth`
    /// if servers refused it meanwhile.
    pub reconnects: ByCause,
    /// How often it was closed for good without being asked to.
    pub closed: u64,
    /// From the call of `connect` to the first connection.
    pub first_connection: Option<Duration>,
    up_before: Duration,
    up_since: Option<Instant>,
    ended: bool,
    given_up: bool,
}

impl ConnectionTotals {
    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// Whether it was ended on purpose: it is not up, and nobody misses it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether it was closed for good without being asked to, and has not been up since: also while
    /// a connection of the same name is being made.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// For how long it has been up altogether.
    #[must_use]
    pub fn up_time(&self, now: Instant) -> Duration {
        let current = self
            .up_since
            .map(|since| now.saturating_duration_since(since));
        self.up_before + current.unwrap_or_default()
    }

    /// Counts one event. `asked` says whether an end was asked for, `started` is when the
    /// connection was.
    pub(crate) fn handle_event(
        &mut self,
        event: ConnectionEvent,
        asked: bool,
        started: Instant,
        now: Instant,
    ) {
        match event {
            ConnectionEvent::Connected { .. } => {
                self.came_up(now);
                self.first_connection = Some(now.saturating_duration_since(started));
            }
            ConnectionEvent::Reconnected { cause, .. } => {
                self.came_up(now);
                self.reconnects.count(cause);
            }
            ConnectionEvent::Disconnected { cause } => {
                self.went_down(now);
                self.disconnects.count(cause);
            }
            ConnectionEvent::Closed => {
                self.went_down(now);
                self.close(asked);
            }
        }
    }

    fn came_up(&mut self, now: Instant) {
        self.connects += 1;
        self.given_up = false;
        self.up_since.get_or_insert(now);
    }

    fn went_down(&mut self, now: Instant) {
        self.up_before = self.up_time(now);
        self.up_since = None;
    }

    fn close(&mut self, asked: bool) {
        self.closed += u64::from(!asked);
        self.ended = asked;
        self.given_up = !asked;
    }

    /// Nobody looks after it any more.
    pub(crate) fn retire(&mut self, on_purpose: bool, now: Instant) {
        self.went_down(now);
        self.ended = on_purpose;
        self.given_up &= !on_purpose;
    }

    /// It ended, and nobody wanted that.
    pub(crate) fn break_down(&mut self, now: Instant) {
        self.went_down(now);
        self.close(false);
    }

    /// It is wanted again.
    pub(crate) fn begin(&mut self) {
        self.ended = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Generation;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_cause_has_its_own_number() {
        for cause in Cause::ALL {
            let mut numbers = ByCause::default();
            numbers.count(cause);
            assert_eq!((numbers.of(cause), numbers.total()), (1, 1), "{cause:?}");
        }
    }

    #[test]
    fn time_counts_only_while_it_is_up() {
        let start = Instant::now();
        let at = |seconds| start + seconds * SECOND;
        let generation = Generation::NONE;
        let mut totals = ConnectionTotals::default();
        let mut handle = |event, seconds| totals.handle_event(event, false, start, at(seconds));
        handle(ConnectionEvent::Connected { generation }, 2);
        let cause = Cause::Network;
        handle(ConnectionEvent::Disconnected { cause }, 5);
        let outage = 3 * SECOND;
        let reconnected = ConnectionEvent::Reconnected {
            outage,
            cause,
            generation,
        };
        handle(reconnected, 8);
        assert_eq!(totals.up_time(at(9)), 4 * SECOND);
        assert_eq!(totals.first_connection, Some(2 * SECOND));
        assert_eq!((totals.connects, totals.reconnects.total()), (2, 1));
        totals.handle_event(ConnectionEvent::Closed, false, start, at(10));
        assert_eq!((totals.up_time(at(99)), totals.closed), (5 * SECOND, 1));
        assert!(!totals.is_up());
    }

    #[test]
    fn given_up_is_what_was_closed_unasked_until_it_is_up_again_or_not_wanted() {
        let now = Instant::now();
        let generation = Generation::NONE;
        let closed = |asked| {
            let mut totals = ConnectionTotals::default();
            totals.handle_event(ConnectionEvent::Connected { generation }, false, now, now);
            totals.handle_event(ConnectionEvent::Closed, asked, now, now);
            totals
        };
        assert!(!closed(true).is_given_up());
        let mut totals = closed(false);
        assert!(totals.is_given_up());
        // Its handle is dropped, and the service tries again, in vain at first.
        totals.retire(false, now);
        totals.begin();
        assert!(totals.is_given_up());
        let mut unwanted = totals;
        unwanted.retire(true, now);
        assert!(!unwanted.is_given_up());
        totals.handle_event(ConnectionEvent::Connected { generation }, false, now, now);
        let cause = Cause::Network;
        totals.handle_event(ConnectionEvent::Disconnected { cause }, false, now, now);
        assert_eq!((totals.is_given_up(), totals.closed), (false, 1));
        totals.break_down(now);
        assert!(totals.is_given_up());
    }
}
