//! One client of the relay, as a state machine: bytes in, what to do with them out. No sockets, no clock, no async.
//!
//! The shell shows unread bytes ([`Session::handle_client`], [`Session::handle_upstream`]) and gets a [`Verdict`] about the
//! first of them. Then it passes on what [`Session::transmit`] has for each side, *behind* the bytes it was told to
//! forward, and shows the rest again, until the verdict is empty. In the steady state that is one call per buffer and no
//! byte is copied here.
//!
//! The handover is the algorithm of `ARCHITECTURE.md`, "Handover"; its steps are in `handover.rs`.

mod client;
mod denied;
mod error;
mod farewell;
mod handover;
mod interest;
mod link;
mod matching;
mod outage;
mod passing;
mod pings;
mod refusals;
mod upstream;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use error::{ClientError, UpstreamError};
pub(crate) use handover::{Abort, HandoverTiming, Move};
pub(crate) use interest::InterestLimits;
pub(crate) use outage::Loss;

use super::protocol::{ClientParser, InfoRewrite, ParseLimits, ServerInfo};
use farewell::Farewell;
use handover::Handover;
use interest::Interest;
use link::LinkState;
use refusals::Written;

/// Which of the two upstream connections of a session. After a handover the next one is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Current,
    Next,
}

/// Where bytes of the session's own go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Upstream(Link),
}

/// What to do with the first of the bytes that were shown: pass on so many, then drop so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    pub(crate) forward: usize,
    pub(crate) skip: usize,
    /// Nothing was judged, because what the session wrote before must leave first.
    is_put_off: bool,
}

impl Verdict {
    /// Nothing more is to be done with these bytes now.
    pub(crate) fn is_empty(self) -> bool {
        !self.has_judged() && !self.is_put_off
    }

    fn has_judged(self) -> bool {
        self.forward > 0 || self.skip > 0
    }
}

/// How a session behaves; the same for all sessions of a relay.
#[derive(Debug, Clone)]
pub(crate) struct SessionSettings {
    /// For what the client sends.
    pub(crate) parse: ParseLimits,
    pub(crate) interest: InterestLimits,
    pub(crate) timing: HandoverTiming,
    pub(crate) info: InfoRewrite,
    /// How many bytes of messages may wait for their twin, or for the client; besides them one message, of as many bytes or
    /// of the longest that the server promises.
    pub(crate) pending_bytes: usize,
}

/// What a client asked for in its CONNECT, as far as the session must know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientOptions {
    pub(crate) verbose: bool,
    pub(crate) echo: bool,
    /// Whether it takes an INFO at any time (`protocol` 1), and not only the first.
    pub(crate) understands_info: bool,
    /// Whether it said that it uses headers.
    pub(crate) headers: bool,
}

/// Something the shell should know or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The next connection is the current one from now on; the other one is to be closed.
    Switched {
        /// For how long the client's operations were held.
        stall: Duration,
    },
    /// A handover is over; a new one may begin.
    Finished {
        /// Frames that were expected as copies and did not come; 0 unless something is inexact.
        unmatched: usize,
    },
    /// A handover was given up and the current connection kept. The next one is to be closed.
    GivenUp(Abort),
    /// A handover failed where there is no way back.
    CloseClient(Abort),
    /// The server is about to shut down.
    LameDuck,
    /// Nothing is on its way any more; see [`Session::begin_farewell`].
    Drained,
}

/// Bytes of the session's own, per side.
#[derive(Debug, Default)]
struct Transmit {
    client: Vec<u8>,
    current: Vec<u8>,
    next: Vec<u8>,
}

/// The client's direction.
#[derive(Debug)]
struct ClientState {
    parser: ClientParser,
    options: ClientOptions,
    /// The rest of an operation whose beginning was lost with its connection.
    discards: bool,
    /// Operations behind which it is not known how many subscriptions its server has.
    others: u64,
    /// Bytes for the current connection that wait for the end of the client's operation.
    injected: Vec<u8>,
    welcome: Welcome,
}

/// Whether the client may be told INFO again. nats-server does so only behind its first PONG, and clients rely on that:
/// nats-py takes whatever comes first behind its CONNECT and PING for the answer.
#[derive(Debug)]
enum Welcome {
    /// The client's first PING is still to be answered; this is to be told then.
    Pending {
        info: Vec<u8>,
    },
    Over,
}

/// What passed through a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) upstream_messages: u64,
    pub(crate) downstream_messages: u64,
}

/// One client and its upstream connections.
pub(crate) struct Session {
    settings: SessionSettings,
    client: ClientState,
    interest: Interest,
    current: LinkState,
    next: Option<LinkState>,
    handover: Option<Handover>,
    handovers: u64,
    /// There is no current connection; the client waits.
    outage: bool,
    farewell: Option<Farewell>,
    transmit: Transmit,
    /// The longest payload that its server lets anyone publish.
    max_payload: u64,
    /// What its server said of itself last, if it did so later than in the INFO of [`Session::new`].
    latest_info: Option<Box<[u8]>>,
    /// Whole frames for the client that wait for the end of the one under way.
    deferred: Vec<u8>,
    events: VecDeque<Event>,
    traffic: Traffic,
}

impl Session {
    /// A client that has sent its CONNECT to a server that said `info`.
    pub(crate) fn new(
        settings: SessionSettings,
        options: ClientOptions,
        info: &ServerInfo,
    ) -> Self {
        let mut parser = ClientParser::new(settings.parse);
        parser.set_max_payload(info.max_payload);
        parser.set_headers(options.headers && info.headers);
        Self {
            client: ClientState {
                parser,
                options,
                discards: false,
                others: 0,
                injected: Vec::new(),
                welcome: Welcome::Pending { info: Vec::new() },
            },
            interest: Interest::new(settings.interest),
            current: LinkState::new(),
            next: None,
            handover: None,
            handovers: 0,
            outage: false,
            farewell: None,
            transmit: Transmit::default(),
            max_payload: info.max_payload,
            latest_info: None,
            deferred: Vec::new(),
            events: VecDeque::new(),
            traffic: Traffic::default(),
            settings,
        }
    }

    /// Bytes for a side, to be sent behind what was forwarded to it; the caller empties them.
    pub(crate) fn transmit(&mut self, side: Side) -> &mut Vec<u8> {
        match side {
            Side::Client => &mut self.transmit.client,
            Side::Upstream(Link::Current) => &mut self.transmit.current,
            Side::Upstream(Link::Next) => &mut self.transmit.next,
        }
    }

    /// What happened, oldest first.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether more of the client may be read. While it is held between two operations there is no use in that. A client
    /// that asks faster than it is answered is held, too.
    pub(crate) fn wants_client(&self) -> bool {
        !(self.holds_client() && self.is_between_operations())
    }

    fn written(&self) -> Written {
        Written {
            newest: self.interest.newest(),
            others: self.client.others,
        }
    }

    fn holds_client(&self) -> bool {
        self.outage
            || self.farewell.is_some()
            || self.current.pings.are_many()
            || self.handover.as_ref().is_some_and(Handover::holds_client)
    }

    /// Whether more of the next connection may be read: what is kept of it has a limit.
    pub(crate) fn wants_next(&self) -> bool {
        let kept = self.handover.as_ref().map_or(0, Handover::kept_bytes);
        kept + self.deferred.len() < self.settings.pending_bytes
    }

    /// Whether a handover is under way, its tail included.
    #[cfg(test)]
    pub(crate) fn is_handing_over(&self) -> bool {
        self.handover.is_some()
    }

    /// Whether the client has had only whole messages so far.
    pub(crate) fn client_is_between_frames(&self) -> bool {
        !self.current.is_forwarding()
    }

    /// Whether the client is between two operations.
    pub(crate) fn is_between_operations(&self) -> bool {
        self.client.parser.at_boundary()
    }

    /// What passed since the last call.
    pub(crate) fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }
}

#[cfg(test)]
mod tests;
