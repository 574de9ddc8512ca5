//! The life of one connection as events with a cause: a state machine without I/O.
//!
//! async-nats may drop events; what is observed of the client (its state, and how often it
//! connected) is the truth, and events are only hints about the cause.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::nats::rotation::Link;
use crate::store::Generation;

/// Why a connection went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Moved onto a new generation.
    Rotation,
    /// Moved back onto older material.
    Rollback,
    /// Moved away from a server that is about to shut down.
    LameDuck,
    /// The server said that it shuts down.
    ServerShutdown,
    /// Nobody said anything.
    Network,
    /// TLS: certificates are refused.
    Tls,
    /// The user is not, or no longer, authorized.
    Auth,
    /// The server cut a client that read too slowly.
    SlowConsumer,
    /// The application drained or closed the connection.
    Client,
}

impl Cause {
    /// Every cause, for closed label sets.
    pub const ALL: [Self; 9] = [
        Self::Rotation,
        Self::Rollback,
        Self::LameDuck,
        Self::ServerShutdown,
        Self::Network,
        Self::Tls,
        Self::Auth,
        Self::SlowConsumer,
        Self::Client,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Rollback => "rollback",
            Self::LameDuck => "lame_duck",
            Self::ServerShutdown => "server_shutdown",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::SlowConsumer => "slow_consumer",
            Self::Client => "client",
        }
    }

    /// What the text of a server's `-ERR` says about the disconnect that follows.
    pub(crate) fn of_server_error(message: &str) -> Option<Self> {
        let message = message.to_lowercase();
        if message.contains("slow consumer") {
            Some(Self::SlowConsumer)
        } else if message.contains("authoriz") || message.contains("authentication") {
            Some(Self::Auth)
        } else if message.contains("server shutdown") {
            Some(Self::ServerShutdown)
        } else {
            None
        }
    }
}

/// Something that a dependent of the connection may want to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Up for the first time.
    Connected {
        /// Of the certificate that was presented.
        generation: Generation,
    },
    /// Down; the client reconnects by itself.
    Disconnected {
        /// Why.
        cause: Cause,
    },
    /// Up again: rebuild what the server may have forgotten.
    Reconnected {
        /// How long the connection was down, as far as it was seen.
        outage: Duration,
        /// Why it had gone down.
        cause: Cause,
        /// Of the certificate that was presented.
        generation: Generation,
    },
    /// Over for good.
    Closed,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not up yet.
    Connecting,
    /// Up.
    Connected,
    /// Down, and trying.
    Disconnected,
    /// Finishing what is buffered, then closed.
    Draining,
    /// Over for good.
    Closed,
}

impl ConnectionState {
    /// The name in `/status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Connecting,
    Up { connects: u64 },
    Down { cause: Cause, since: Instant },
    Closed,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: State,
    draining: bool,
    intent: Option<Cause>,
    hint: Option<Cause>,
    events: VecDeque<ConnectionEvent>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Connecting,
            draining: false,
            intent: None,
            hint: None,
            events: VecDeque::new(),
        }
    }

    /// We are about to make the connection go down ourselves.
    pub(crate) fn handle_intent(&mut self, cause: Cause) {
        self.intent = Some(cause);
    }

    /// The server or the client said something that explains a disconnect soon to be seen.
    pub(crate) fn handle_hint(&mut self, cause: Cause) {
        self.hint = Some(cause);
    }

    pub(crate) fn handle_draining(&mut self) {
        self.draining = true;
        self.intent = Some(Cause::Client);
    }

    /// Whether the end was asked for.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// What was seen of the client.
    pub(crate) fn handle_link(&mut self, link: Link, now: Instant) {
        match (self.state, link) {
            (State::Closed, _) | (State::Connecting | State::Down { .. }, Link::Down) => {}
            (
                State::Connecting,
                Link::Up {
                    connects,
                    generation,
                },
            ) => {
                self.state = State::Up { connects };
                self.events
                    .push_back(ConnectionEvent::Connected { generation });
            }
            (
                State::Up { connects: old },
                Link::Up {
                    connects,
                    generation,
                },
            ) => {
                // Every connect between two looks was an outage too short to be seen.
                for _ in old..connects {
                    let cause = self.disconnected();
                    self.reconnected(Duration::ZERO, cause, generation);
                }
                self.state = State::Up { connects };
            }
            (State::Up { .. }, Link::Down) => {
                let cause = self.disconnected();
                self.state = State::Down { cause, since: now };
            }
            (
                State::Down { cause, since },
                Link::Up {
                    connects,
                    generation,
                },
            ) => {
                self.state = State::Up { connects };
                self.reconnected(now.saturating_duration_since(since), cause, generation);
            }
        }
    }

    pub(crate) fn handle_closed(&mut self) {
        if !matches!(self.state, State::Closed) {
            if matches!(self.state, State::Up { .. }) {
                self.disconnected();
            }
            self.state = State::Closed;
            self.events.push_back(ConnectionEvent::Closed);
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    pub(crate) fn state(&self) -> ConnectionState {
        match self.state {
            State::Closed => ConnectionState::Closed,
            _ if self.draining => ConnectionState::Draining,
            State::Connecting => ConnectionState::Connecting,
            State::Up { .. } => ConnectionState::Connected,
            State::Down { .. } => ConnectionState::Disconnected,
        }
    }

    fn disconnected(&mut self) -> Cause {
        let hint = self.hint.take();
        let cause = self.intent.take().or(hint).unwrap_or(Cause::Network);
        self.events
            .push_back(ConnectionEvent::Disconnected { cause });
        cause
    }

    fn reconnected(&mut self, outage: Duration, cause: Cause, generation: Generation) {
        self.events.push_back(ConnectionEvent::Reconnected {
            outage,
            cause,
            generation,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn up(connects: u64) -> Link {
        Link::Up {
            connects,
            generation: Generation::NONE,
        }
    }

    fn events(lifecycle: &mut Lifecycle) -> Vec<ConnectionEvent> {
        std::iter::from_fn(|| lifecycle.poll_event()).collect()
    }

    #[test]
    fn an_outage_has_a_cause_and_a_length() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new();
        lifecycle.handle_link(Link::Down, start);
        assert_eq!(lifecycle.state(), ConnectionState::Connecting);
        lifecycle.handle_link(up(1), start);
        lifecycle.handle_hint(Cause::Auth);
        lifecycle.handle_link(Link::Down, start + SECOND);
        assert_eq!(lifecycle.state(), ConnectionState::Disconnected);
        lifecycle.handle_link(Link::Down, start + 2 * SECOND);
        lifecycle.handle_link(up(2), start + 3 * SECOND);
        let generation = Generation::NONE;
        assert_eq!(
            events(&mut lifecycle),
            [
                ConnectionEvent::Connected { generation },
                ConnectionEvent::Disconnected { cause: Cause::Auth },
                ConnectionEvent::Reconnected {
                    outage: 2 * SECOND,
                    cause: Cause::Auth,
                    generation
                },
            ]
        );
    }

    #[test]
    fn outages_between_two_looks_are_counted() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new();
        lifecycle.handle_link(up(1), start);
        lifecycle.handle_intent(Cause::Rotation);
        lifecycle.handle_link(up(4), start);
        let causes: Vec<_> = events(&mut lifecycle)
            .into_iter()
            .filter_map(|event| match event {
                ConnectionEvent::Disconnected { cause } => Some(cause),
                _ => None,
            })
            .collect();
        assert_eq!(causes, [Cause::Rotation, Cause::Network, Cause::Network]);
    }

    #[test]
    fn closed_is_said_once_and_is_final() {
        let mut lifecycle = Lifecycle::new();
        lifecycle.handle_link(up(1), Instant::now());
        lifecycle.handle_draining();
        assert_eq!(lifecycle.state(), ConnectionState::Draining);
        lifecycle.handle_closed();
        lifecycle.handle_closed();
        lifecycle.handle_link(up(2), Instant::now());
        assert_eq!(lifecycle.state(), ConnectionState::Closed);
        let events = events(&mut lifecycle);
        assert_eq!(
            events.get(1),
            Some(&ConnectionEvent::Disconnected {
                cause: Cause::Client
            })
        );
        assert_eq!(events.get(2..), Some(&[ConnectionEvent::Closed][..]));
    }
}
