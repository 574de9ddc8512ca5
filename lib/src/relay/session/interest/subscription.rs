//! One subscription: how far it has come, and what a server must be told to have it.

use std::borrow::Borrow;

/// A subscription's identifier, chosen by the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sid(pub(super) Box<[u8]>);

impl Sid {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Sid {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// A subscription as the server of one upstream connection knows it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Messages it sent: what the server counts against a maximum.
    pub(super) sent: u64,
    /// The maximum the server was told.
    pub(super) granted: Option<u64>,
}

impl Place {
    /// Whether the server has ended it by itself.
    pub(super) fn is_used_up(&self) -> bool {
        self.granted.is_some_and(|granted| self.sent >= granted)
    }
}

/// How far a subscription is on its way to the next upstream connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Passage {
    /// Not there, and the current connection has not confirmed it for this handover.
    Here,
    /// The current connection is to confirm it; then its turn comes.
    Marked,
    /// Refused there: the client loses it if it moves.
    Refused,
    /// Subscribed there.
    There {
        place: Place,
        /// What the current connection delivers from here on comes there too.
        fenced: bool,
    },
    /// It has moved with its client; copies of what the former connection delivered may still come.
    Moved,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(super) sid: Sid,
    pub(super) subject: Box<[u8]>,
    pub(super) queue: Option<Box<[u8]>>,
    /// The total after which it ends by itself.
    pub(super) max: Option<u64>,
    /// Messages the client got.
    pub(super) delivered: u64,
    pub(super) current: Place,
    pub(super) passage: Passage,
    pub(super) life: Life,
}

/// Whether a subscription is still wanted. What is not wanted any more is remembered for a while, because messages for
/// it are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Live,
    /// The client unsubscribed; what the current connection still delivers is its own.
    Left,
    /// Nothing that comes now is for the client: it got its maximum, or another connection has delivered the rest.
    Ended,
}

impl Subscription {
    pub(crate) fn sid(&self) -> &Sid {
        &self.sid
    }

    pub(crate) fn is_queue(&self) -> bool {
        self.queue.is_some()
    }

    pub(crate) fn is_on_next(&self) -> bool {
        matches!(self.passage, Passage::There { .. })
    }

    /// Whether it is about to be subscribed there.
    pub(crate) fn is_marked(&self) -> bool {
        matches!(self.passage, Passage::Marked)
    }

    /// Whether the next connection is sure to send what the current one delivers now.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self.passage, Passage::There { fenced: true, .. })
    }

    /// Whether another connection may still send what was delivered.
    pub(super) fn may_be_copied(&self) -> bool {
        matches!(self.passage, Passage::There { .. } | Passage::Moved)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.life == Life::Live
    }

    /// How many more the client may get.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.max.map(|max| max.saturating_sub(self.delivered))
    }

    pub(super) fn cost(&self) -> usize {
        let queue = self.queue.as_ref().map_or(0, |queue| queue.len());
        self.sid.0.len() + self.subject.len() + queue
    }

    /// Subscribes on a connection that does not know it.
    pub(super) fn subscribe(&self, out: &mut Vec<u8>) -> Place {
        out.extend_from_slice(b"SUB ");
        out.extend_from_slice(&self.subject);
        if let Some(queue) = &self.queue {
            out.push(b' ');
            out.extend_from_slice(queue);
        }
        out.push(b' ');
        out.extend_from_slice(&self.sid.0);
        out.extend_from_slice(b"\r\n");
        let granted = self.remaining();
        if granted.is_some() {
            unsubscribe(out, &self.sid.0, granted);
        }
        Place { sent: 0, granted }
    }
}

/// Writes an `UNSUB`.
pub(crate) fn unsubscribe(out: &mut Vec<u8>, sid: &[u8], max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    out.extend_from_slice(sid);
    if let Some(max) = max {
        out.push(b' ');
        out.extend_from_slice(max.to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
