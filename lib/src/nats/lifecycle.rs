//! The life of one connection as events with a cause: a state machine without I/O.
//!
//! async-nats may drop events; what is observed of the client (its state, and how often it
//! connected) is the truth, and events are only hints about the cause.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::nats::cause::Cause;
use crate::nats::event::{ConnectionEvent, ConnectionState};
use crate::nats::explanation::Explanation;
use crate::nats::rotation::Link;
use crate::store::Generation;

#[derive(Debug, Clone, Copy)]
enum State {
    Connecting,
    Up {
        connects: u64,
    },
    Down {
        /// How often it had come up.
        connects: u64,
        cause: Cause,
        since: Instant,
    },
    Closed,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: State,
    draining: bool,
    explanation: Explanation,
    events: VecDeque<ConnectionEvent>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Connecting,
            draining: false,
            explanation: Explanation::default(),
            events: VecDeque::new(),
        }
    }

    /// What is heard that explains disconnects and outages.
    pub(crate) fn explanation(&mut self) -> &mut Explanation {
        &mut self.explanation
    }

    /// A move is done, or not needed any more.
    pub(crate) fn handle_move_over(&mut self) {
        if !self.draining {
            self.explanation.handle_move_over();
        }
    }

    pub(crate) fn handle_draining(&mut self) {
        self.draining = true;
        self.explanation.handle_intent(Cause::Client);
    }

    /// Whether the end was asked for.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// What was seen of the client.
    pub(crate) fn handle_link(&mut self, link: Link, now: Instant) {
        match link {
            Link::Down => self.handle_down(now),
            Link::Up {
                connects,
                generation,
            } => self.handle_up(connects, generation, now),
        }
    }

    fn handle_down(&mut self, now: Instant) {
        if let State::Up { connects } = self.state {
            let cause = self.disconnected(now);
            self.state = State::Down {
                connects,
                cause,
                since: now,
            };
        }
    }

    fn handle_up(&mut self, connects: u64, generation: Generation, now: Instant) {
        let seen = match self.state {
            State::Closed => return,
            State::Connecting => {
                self.events
                    .push_back(ConnectionEvent::Connected { generation });
                1
            }
            State::Up { connects: seen } => seen,
            State::Down {
                connects: seen,
                cause,
                since,
            } => {
                self.reconnected(now.saturating_duration_since(since), cause, generation);
                seen + 1
            }
        };
        // Every connect between two looks was an outage that nobody saw: how long it was, nobody
        // knows, but it was shorter than the time between two looks.
        for _ in seen..connects {
            let cause = self.disconnected(now);
            self.reconnected(Duration::ZERO, cause, generation);
        }
        self.state = State::Up { connects };
    }

    pub(crate) fn handle_closed(&mut self, now: Instant) {
        if !matches!(self.state, State::Closed) {
            if matches!(self.state, State::Up { .. }) {
                self.disconnected(now);
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

    fn disconnected(&mut self, now: Instant) -> Cause {
        let cause = self.explanation.of_disconnect(now);
        self.events
            .push_back(ConnectionEvent::Disconnected { cause });
        cause
    }

    fn reconnected(&mut self, outage: Duration, cause: Cause, generation: Generation) {
        let cause = self.explanation.of_outage(cause);
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
        lifecycle.explanation().handle_hint(Cause::Auth, start);
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
        lifecycle.explanation().handle_intent(Cause::Rotation);
        lifecycle.handle_link(up(4), start);
        assert_eq!(
            causes(&mut lifecycle),
            [Cause::Rotation, Cause::Network, Cause::Network]
        );
    }

    fn causes(lifecycle: &mut Lifecycle) -> Vec<Cause> {
        let cause = |event| match event {
            ConnectionEvent::Disconnected { cause } => Some(cause),
            _ => None,
        };
        events(lifecycle).into_iter().filter_map(cause).collect()
    }

    #[test]
    fn a_connection_that_came_and_went_during_an_outage_is_counted() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new();
        lifecycle.handle_link(up(1), start);
        lifecycle.handle_link(Link::Down, start);
        lifecycle.handle_link(up(3), start + SECOND);
        assert_eq!(causes(&mut lifecycle), [Cause::Network, Cause::Network]);
    }

    #[test]
    fn refusals_are_what_an_outage_was_for_and_only_that_one() {
        let start = Instant::now();
        let mut lifecycle = Lifecycle::new();
        lifecycle.handle_link(up(1), start);
        lifecycle.handle_link(Link::Down, start);
        lifecycle.explanation().handle_refusal(Cause::Tls);
        lifecycle.handle_link(up(2), start + SECOND);
        lifecycle.handle_link(up(3), start + SECOND);
        let reconnected = |event| match event {
            ConnectionEvent::Reconnected { cause, .. } => Some(cause),
            _ => None,
        };
        let causes: Vec<_> = events(&mut lifecycle)
            .into_iter()
            .filter_map(reconnected)
            .collect();
        assert_eq!(causes, [Cause::Tls, Cause::Network]);
    }

    #[test]
    fn closed_is_said_once_and_is_final() {
        let mut lifecycle = Lifecycle::new();
        lifecycle.handle_link(up(1), Instant::now());
        lifecycle.handle_draining();
        assert_eq!(lifecycle.state(), ConnectionState::Draining);
        lifecycle.handle_closed(Instant::now());
        lifecycle.handle_closed(Instant::now());
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
