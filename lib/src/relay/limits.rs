//! What one client may cost, and how many there may be.
//!
//! Owns values and their defaults. Enforced by the listener, the parser and the session.

use std::time::Duration;

/// Limits of a relay and of each of its sessions. Memory per session is bounded by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLimits {
    pub(crate) sessions: usize,
    pub(crate) connect_time: Duration,
    pub(crate) control_line: usize,
    pub(crate) buffered: usize,
    pub(crate) idle: Option<Duration>,
    pub(crate) operation: Duration,
    pub(crate) stall: Duration,
    pub(crate) subscriptions: usize,
    pub(crate) interest: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            sessions: 1024,
            connect_time: Duration::from_secs(5),
            control_line: 4096,
            buffered: 4 * 1024 * 1024,
            idle: None,
            operation: Duration::from_secs(60),
            stall: Duration::from_secs(10),
            subscriptions: 16 * 1024,
            interest: 4 * 1024 * 1024,
        }
    }
}

impl RelayLimits {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Clients at the same time; one more is answered as by a full nats-server. Each takes two file
    /// descriptors, three during a handover. Default 1024; at least 1.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions.max(1);
        self
    }

    /// How long a client may take to send its CONNECT, once it has INFO. Default 5 s.
    #[must_use]
    pub fn connect_time(mut self, limit: Duration) -> Self {
        self.connect_time = limit;
        self
    }

    /// The longest control line of a client, in bytes. Default 4096, as nats-server; at least 512.
    #[must_use]
    pub fn control_line(mut self, bytes: usize) -> Self {
        self.control_line = bytes.max(512);
        self
    }

    /// What is kept for a client that does not take it, in each direction, in bytes, before the
    /// other side is not read any more. Default 4 MiB; at least 64 KiB.
    #[must_use]
    pub fn buffered(mut self, bytes: usize) -> Self {
        self.buffered = bytes.max(64 * 1024);
        self
    }

    /// How long a session may be silent in both directions. Default none: NATS's own pings find
    /// the dead. Time in which the relay does not read the client, as in an outage, does not count.
    #[must_use]
    pub fn idle(mut self, limit: Option<Duration>) -> Self {
        self.idle = limit;
        self
    }

    /// How long a client may say nothing in the middle of an operation, before it is closed as
    /// stale. Default 60 s. Time in which the relay does not read the client does not count.
    #[must_use]
    pub fn operation(mut self, limit: Duration) -> Self {
        self.operation = limit;
        self
    }

    /// How long a client may take nothing of what waits for it, before it is closed as a slow
    /// consumer. Default 10 s, as nats-server's `write_deadline`.
    #[must_use]
    pub fn stall(mut self, limit: Duration) -> Self {
        self.stall = limit;
        self
    }

    /// Subscriptions of one session. Default 16384; at least 1.
    #[must_use]
    pub fn subscriptions(mut self, subscriptions: usize) -> Self {
        self.subscriptions = subscriptions.max(1);
        self
    }

    /// Subjects, queue names and ids of all subscriptions of one session together, in bytes.
    /// Default 4 MiB; at least 4096.
    #[must_use]
    pub fn interest(mut self, bytes: usize) -> Self {
        self.interest = bytes.max(4096);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_can_shut_everybody_out() {
        let limits = RelayLimits::new()
            .sessions(0)
            .control_line(0)
            .buffered(0)
            .subscriptions(0)
            .interest(0);
        assert_eq!(
            (limits.sessions, limits.control_line, limits.buffered),
            (1, 512, 65_536)
        );
        assert_eq!((limits.subscriptions, limits.interest), (1, 4096));
    }
}
