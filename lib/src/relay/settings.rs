//! How a relay behaves: where it listens, whom it lets in, how it reaches NATS, how it moves clients.
//!
//! Owns values and their defaults. Opens nothing, and decides nothing but what an unset value means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::nats::{ConnectSettings, ServerList, StartupPolicy};
use crate::relay::limits::RelayLimits;
use crate::relay::local::LocalCredentials;

/// How clients get onto a new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RotationMode {
    /// Make before break: the client's connection stays and no message is lost or repeated.
    #[default]
    Handover,
    /// Break before make, by the client itself: it is told as by a server in lame duck mode, and 5 s
    /// later closed behind its last operation, once its server has confirmed everything it said and
    /// delivered what it had for it. What others publish until it is back is lost to it, unless a
    /// stream keeps it. For servers without a spare connection, and for clients that should notice.
    Reconnect,
}

impl RotationMode {
    /// The name of a flag's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handover => "handover",
            Self::Reconnect => "reconnect",
        }
    }
}

/// Settings of one relay. The defaults are meant for production.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    pub(crate) listen: SocketAddr,
    pub(crate) unsafe_listen: bool,
    pub(crate) local: Option<LocalCredentials>,
    pub(crate) upstream: ConnectSettings,
    pub(crate) limits: RelayLimits,
    pub(crate) rotation: RotationMode,
    pub(crate) spread: Duration,
    pub(crate) handovers_at_once: usize,
    pub(crate) step_limit: Duration,
    pub(crate) route_wait: Duration,
    pub(crate) drain_limit: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4222),
            unsafe_listen: false,
            local: None,
            upstream: ConnectSettings::default(),
            limits: RelayLimits::default(),
            rotation: RotationMode::default(),
            spread: Duration::from_secs(1),
            handovers_at_once: 8,
            step_limit: Duration::from_secs(5),
            route_wait: Duration::from_millis(100),
            drain_limit: Duration::from_secs(25),
        }
    }
}

impl RelaySettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where clients connect, without TLS. Default `127.0.0.1:4222`. Port 0 takes a free one; see
    /// `Relay::local_addr`.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Allows an address that is not loopback although clients need no credentials there: whoever
    /// reaches it acts under this process's TLS identity. Default off.
    #[must_use]
    pub fn unsafe_listen(mut self, allowed: bool) -> Self {
        self.unsafe_listen = allowed;
        self
    }

    /// What clients must say in their CONNECT to be let in; it never goes upstream. Default:
    /// nothing. Only until a server has been reached for the first time does a client cost a
    /// connection upstream before it has said it.
    #[must_use]
    pub fn local_credentials(mut self, credentials: LocalCredentials) -> Self {
        self.local = Some(credentials);
        self
    }

    /// How NATS is reached: TLS names, TLS first, connect timeout, and who vouches for clients that
    /// bring no credentials of their own. Its startup policy is the patience with NATS while a
    /// client waits to be connected, see [`RelaySettings::patience`].
    #[must_use]
    pub fn upstream(mut self, settings: ConnectSettings) -> Self {
        self.upstream = settings;
        self
    }

    /// What one client may cost. Default: [`RelayLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: RelayLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How clients get onto a new generation. Default [`RotationMode::Handover`].
    #[must_use]
    pub fn rotation(mut self, mode: RotationMode) -> Self {
        self.rotation = mode;
        self
    }

    /// The time over which the sessions of one relay are moved. Default 1 s; never past half the
    /// time that the old certificate has left.
    #[must_use]
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// How many sessions are moved, or closed to reconnect, at the same time; a handover needs one
    /// spare connection on its server meanwhile. Default 8; at least 1.
    #[must_use]
    pub fn handovers_at_once(mut self, sessions: usize) -> Self {
        self.handovers_at_once = sessions.max(1);
        self
    }

    /// How long one step of a handover may take before it is given up, and how long a client that is
    /// to leave may hold that up. Default 5 s.
    #[must_use]
    pub fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit = limit;
        self
    }

    /// What a handover to another server of a cluster waits for the interest to get there: at least
    /// three times the worst round trip of a route. Not used on the same server. Default 100 ms.
    #[must_use]
    pub fn route_wait(mut self, wait: Duration) -> Self {
        self.route_wait = wait;
        self
    }

    /// How long clients have, once the relay ends, before they are closed. Default 25 s.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// How long a new session is kept waiting at most while no server can be reached, before its
    /// client is told so; zero is one pass over the servers, however long it takes. A policy without an end keeps a client for as
    /// long as the default start would take: clients have a timeout of their own, and try again.
    #[must_use]
    pub fn patience(&self, servers: &ServerList) -> Duration {
        match self.upstream.startup {
            Some(StartupPolicy::FailFast) => Duration::ZERO,
            Some(StartupPolicy::RetryFor(budget)) => budget,
            Some(StartupPolicy::RetryForever) | None => {
                self.upstream.startup_budget(servers).total()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_that_of_the_startup_policy() {
        let servers = ServerList::parse(["tls://a,tls://b"]).unwrap();
        let patience = |policy| {
            let upstream = ConnectSettings::new().startup(policy);
            RelaySettings::new().upstream(upstream).patience(&servers)
        };
        let seconds = Duration::from_secs;
        assert_eq!(patience(StartupPolicy::FailFast), Duration::ZERO);
        assert_eq!(patience(StartupPolicy::RetryFor(seconds(7))), seconds(7));
        // 5 s * 2 servers * 3 passes + 15 s.
        assert_eq!(patience(StartupPolicy::RetryForever), seconds(45));
        assert_eq!(RelaySettings::new().patience(&servers), seconds(45));
    }

    #[test]
    fn nobody_but_this_machine_is_served_by_default() {
        let settings = RelaySettings::new();
        assert!(settings.listen.ip().is_loopback());
        assert!(!settings.unsafe_listen);
        assert_eq!(settings.handovers_at_once(0).handovers_at_once, 1);
    }
}
