//! What a session knows of one upstream connection.

use super::interest::Key;
use super::matching::{FrameHash, FrameHasher};
use super::passing::Passing;
use super::pings::Pings;
use super::refusals::Refusals;
use crate::relay::protocol::{ParseLimits, ServerParser};

/// What becomes of the message that is coming in.
#[derive(Default)]
pub(super) enum Fate {
    /// To the client as it comes.
    #[default]
    Forward,
    /// The same, and remembered, because the next connection will send it too, surely or perhaps.
    ForwardAndMatch(Box<Passing>),
    /// Kept until it is whole, then judged.
    Hold(Box<Held>),
    /// Nobody wants it.
    Drop,
}

impl Fate {
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Forward | Self::ForwardAndMatch(_))
    }
}

/// A message that is judged once it is whole.
pub(super) struct Held {
    key: Key,
    hasher: FrameHasher,
    frame: Vec<u8>,
    /// More than this is not kept: then all that can be said is whether it is a copy.
    room: usize,
    is_too_large: bool,
}

impl Held {
    pub(super) fn new(key: Key, room: usize) -> Self {
        Self {
            key,
            hasher: FrameHasher::default(),
            frame: Vec::new(),
            room,
            is_too_large: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if self.frame.len() + bytes.len() > self.room {
            self.is_too_large = true;
            self.frame = Vec::new();
        }
        if !self.is_too_large {
            self.frame.extend_from_slice(bytes);
        }
    }

    /// It is whole: whose it is, what it is, and all of it if it was kept.
    pub(super) fn finish(self) -> (Key, FrameHash, Option<Vec<u8>>) {
        let frame = (!self.is_too_large).then_some(self.frame);
        (self.key, self.hasher.finish(), frame)
    }
}

/// One upstream connection.
pub(super) struct LinkState {
    pub(super) parser: ServerParser,
    pub(super) pings: Pings,
    pub(super) refusals: Refusals,
    pub(super) fate: Fate,
    /// `+OK`s are for what the relay wrote.
    pub(super) swallows_ok: bool,
    /// The last INFO, as the server sent it, if the client has not had it.
    pub(super) unseen_info: Option<Vec<u8>>,
}

impl LinkState {
    pub(super) fn new() -> Self {
        Self {
            parser: ServerParser::new(ParseLimits::server()),
            pings: Pings::default(),
            refusals: Refusals::default(),
            fate: Fate::Forward,
            swallows_ok: false,
            unseen_info: None,
        }
    }

    /// Whether the client has had the beginning of a message, and not its end.
    pub(super) fn is_forwarding(&self) -> bool {
        self.fate.passes() && !self.parser.at_boundary()
    }

    /// Whether a `+OK` that came is none of the client's business.
    pub(super) fn swallow_ok(&mut self) -> bool {
        self.swallows_ok || self.pings.swallow_ok()
    }
}
