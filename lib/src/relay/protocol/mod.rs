//! The NATS client protocol in both directions, as nats-server itself reads and writes it, without
//! I/O: operations out of bytes that arrive in any pieces, INFO as a client may see it, and the
//! CONNECT that a client sent.
//!
//! A parser borrows from its caller's buffer and copies nothing: it says how long the next piece is
//! and what it means, and the caller forwards those bytes as they are. All that it remembers is how
//! much of an announced payload is still to come, so [`ClientParser::at_boundary`] is exactly the
//! question a handover asks.
//!
//! # As tolerant as nats-server, except where that is ambiguous
//! Operations are recognised in any case, arguments are separated by blanks and tabs, and a line
//! feed alone ends a control line. But where nats-server's answer depends on how the bytes happened
//! to arrive, two parsers in a row could disagree about where an operation ends, and a client could
//! smuggle one past the relay. Those inputs are refused: a carriage return anywhere but at the end
//! of a line, and a control line without arguments that continues on the next. The limit counts all
//! blanks, and the ignored rest of `PING`, `PONG` and `+OK`, which nats-server lets grow for ever.

mod arguments;
mod client;
mod connect;
mod error;
mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod info;
#[cfg(test)]
mod judged;
mod object;
mod server;
#[cfg(test)]
mod splits;
mod subject;
mod verb;

pub(crate) use client::{ClientOp, ClientParser};
pub(crate) use connect::{Connect, Credentials};
pub(crate) use error::ProtocolError;
pub(crate) use info::{InfoError, InfoRewrite, ServerInfo, rewrite_info};
pub(crate) use server::{ServerOp, ServerParser};
pub(crate) use subject::is_subject;

/// What the bytes at the front of the caller's buffer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<Op> {
    /// Not a whole control line yet: read more. Nothing is remembered; show the same bytes again,
    /// with what came behind them.
    More,
    /// A control line of `length` bytes, its end included. An announced payload follows in
    /// [`Step::Payload`] steps.
    Line { op: Op, length: usize },
    /// The next `length` bytes belong to the payload of the last line, or to the line end behind
    /// it; with `last` the operation is complete.
    Payload { length: usize, last: bool },
}

/// How much a peer may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParseLimits {
    /// The arguments of one control line, in bytes.
    pub(crate) control_line: usize,
    /// One payload, headers included, in bytes.
    pub(crate) max_payload: u64,
}

impl ParseLimits {
    /// nats-server's defaults for clients: `max_control_line` 4 KiB, `max_payload` 1 MiB.
    pub(crate) const fn client() -> Self {
        Self {
            control_line: 4 * 1024,
            max_payload: 1024 * 1024,
        }
    }

    /// For what a server sends: control lines up to 64 KiB, which is what nats-server allows its
    /// own peers, and room for an INFO that names more than a thousand servers; payloads up to the
    /// longest that the protocol can announce, because a stream's headers and another server's
    /// `max_payload` can make a message longer than INFO promises.
    pub(crate) const fn server() -> Self {
        Self {
            control_line: 64 * 1024,
            max_payload: arguments::LARGEST_SIZE,
        }
    }

    /// The longest control line that can be accepted, in bytes: how much room a reader needs.
    pub(crate) const fn longest_line(&self) -> usize {
        // The longest verb (`CONNECT`), one blank, the arguments, the line end.
        self.control_line.saturating_add(7 + 1 + 2)
    }
}
