//! The steps of a handover: the client's subscriptions are made on a second upstream connection, both deliver for a
//! moment and copies are matched, then one round trip fences everything on the former connection and the client goes on
//! with the other one. Until the cut every failure leaves the client where it was.
//!
//! The order of the steps is what makes it exact; `ARCHITECTURE.md`, "Handover", says why each is where it is.

mod copies;
mod failure;
mod steps;

use std::time::{Duration, Instant};

use super::matching::Matching;

/// More frames than this owed by the next connection is no skew any more, but a connection that does not keep up.
const MOST_OWED: usize = 200_000;

/// How long the steps may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandoverTiming {
    /// For each step, until its fence is passed.
    pub(crate) step: Duration,
    /// How long copies are expected after the change, on the same server.
    pub(crate) tail: Duration,
    /// How long interest takes to reach every server of the cluster, when the next connection is to another one.
    pub(crate) route: Duration,
}

/// Where a client is to be moved.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// What the server of the next connection says of itself.
    pub(crate) info: Vec<u8>,
    /// Whether it is the server of the current connection.
    pub(crate) is_same_server: bool,
    /// Whether the client has to move even if it may then subscribe to less.
    pub(crate) is_forced: bool,
}

/// Why a handover did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Abort {
    #[error("a step took too long")]
    Timeout,
    #[error("the new connection may not subscribe to {subject}")]
    SubscriptionDenied { subject: String },
    #[error("the server said {text} to the new connection")]
    Refused { text: String },
    #[error("the new connection sent a message larger than what may be kept")]
    TooLarge,
    #[error("the new connection does not keep up")]
    TooSlow,
    #[error("the new connection was lost")]
    NextLost,
    #[error("the connection in use was lost")]
    CurrentLost,
}

/// Where a handover is. The client is held in some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The current connection is to confirm every subscription of this moment.
    Marking,
    AwaitMark,
    /// The next connection subscribes what is no queue.
    AwaitReplay,
    /// Interest spreads in the cluster.
    Spreading(After),
    /// A fence on the current connection, then on the next one: copies of what came before do not count.
    AwaitCurrentFence,
    AwaitNextFence,
    AwaitQueue,
    /// The client is to be held between two operations.
    Closing,
    /// The current connection was left; there is no way back.
    Cut {
        delivered: bool,
        resumed: bool,
    },
    /// The client goes on; late copies are still matched.
    Tail,
    AwaitTail,
    /// Given up: the next connection's queue messages are passed on until it is quiet.
    GivingUp,
}

/// What comes when interest has spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Mark,
    Replay,
    CurrentFence,
    Queue,
}

/// One handover under way.
pub(super) struct Handover {
    number: u64,
    phase: Phase,
    since: Instant,
    deadline: Instant,
    matching: Matching,
    is_same_server: bool,
    is_forced: bool,
    /// Own messages would come back on the next connection: the client is held all the time.
    holds_throughout: bool,
    /// What the client subscribed after the mark had its turn once.
    has_caught_up: bool,
    /// The client is held until it goes on, on the next connection.
    is_closing: bool,
    held_since: Option<Instant>,
    abort: Option<Abort>,
    /// What the next connection's server refused, for the client once it has moved.
    refusals: Vec<u8>,
}

impl Handover {
    pub(super) fn holds_client(&self) -> bool {
        match self.phase {
            Phase::Tail | Phase::AwaitTail => false,
            Phase::GivingUp => self.holds_throughout,
            _ => self.holds_throughout || self.is_closing,
        }
    }

    /// Whether the current connection was left, and the other one is not yet in its place.
    pub(super) fn has_cut(&self) -> bool {
        matches!(self.phase, Phase::Cut { .. })
    }

    fn owes_too_much(&self) -> bool {
        self.matching.owed() > MOST_OWED
    }

    fn is_over_for_current(&self) -> bool {
        matches!(
            self.phase,
            Phase::Cut {
                delivered: true,
                ..
            }
        )
    }

    fn is_in_tail(&self) -> bool {
        matches!(self.phase, Phase::Tail | Phase::AwaitTail)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.phase == Phase::GivingUp
    }

    /// Whether the client moves even if it may then subscribe to less. It is told so when it has.
    pub(super) fn tells_refusal(&mut self, text: &[u8], room: usize) -> bool {
        let is_told = self.is_forced && self.refusals.len() + text.len() < room;
        if is_told {
            self.refusals.extend_from_slice(b"-ERR '");
            self.refusals.extend_from_slice(text);
            self.refusals.extend_from_slice(b"'\r\n");
        }
        is_told
    }

    /// Bytes kept of the next connection.
    pub(super) fn kept_bytes(&self) -> usize {
        self.matching.pending_bytes()
    }
}
