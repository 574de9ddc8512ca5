//! Who owns each outstanding PING of one upstream connection. A server answers them in order and says nothing else
//! about which is which.

use std::collections::VecDeque;

use super::refusals::Written;

/// What the relay asked with a PING of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    /// None: only whether the server is there.
    Alive,
    /// Every marked subscription is known to the current connection.
    Mark,
    /// The next connection has the non-queue subscriptions.
    Replay,
    /// What the current connection delivers from here on comes on the next one too.
    Current,
    /// The next connection will not send what the current one delivered before its fence.
    Next,
    /// The next connection has the queue subscriptions.
    Queue,
    /// The current connection has everything the client published.
    LastPublish,
    /// The current connection delivers nothing any more.
    LastDelivery,
    /// The next connection has everything the relay wrote; the client may go on.
    Resume,
    /// The next connection, now the current one, will not send copies any more.
    Tail,
    /// The next connection, given up, delivers nothing any more.
    GivenUp,
    /// The session ends: the current connection has everything and delivers nothing any more.
    Farewell,
}

/// Owner of a PING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Client,
    /// The number tells one handover from another.
    Relay(Fence, u64),
}

/// So many a client may have outstanding before it is read further: more than any client needs, and 128 KiB.
const MOST: usize = 4096;

/// Outstanding PINGs in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Pings(VecDeque<(Owner, Written)>);

impl Pings {
    pub(crate) fn sent(&mut self, owner: Owner, written: Written) {
        self.0.push_back((owner, written));
    }

    /// Whose PONG just came, and what had been written before the PING; none if nobody asked.
    pub(crate) fn answered(&mut self) -> Option<(Owner, Written)> {
        self.0.pop_front()
    }

    /// Whether the client is to wait for answers before it asks more.
    pub(crate) fn are_many(&self) -> bool {
        self.0.len() >= MOST
    }

    /// How many the client waits for.
    pub(crate) fn of_client(&self) -> usize {
        let owners = self.0.iter();
        owners.filter(|(owner, _)| *owner == Owner::Client).count()
    }
}
