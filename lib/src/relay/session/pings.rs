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

#[derive(Debug)]
struct Outstanding {
    owner: Owner,
    written: Written,
    /// So many `+OK`s between its PONG and the next one are for what the relay wrote.
    surplus_ok: usize,
}

/// Outstanding PINGs in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    outstanding: VecDeque<Outstanding>,
    /// The same before the first PONG.
    surplus_ok: usize,
}

impl Pings {
    pub(crate) fn sent(&mut self, owner: Owner, written: Written) {
        self.outstanding.push_back(Outstanding {
            owner,
            written,
            surplus_ok: 0,
        });
    }

    /// Whose PONG just came, and what had been written before the PING; none if nobody asked.
    pub(crate) fn answered(&mut self) -> Option<(Owner, Written)> {
        let answered = self.outstanding.pop_front()?;
        self.surplus_ok = answered.surplus_ok;
        Some((answered.owner, answered.written))
    }

    /// The relay wrote operations that are acknowledged, behind the last PING. Their `+OK`s must not be told from others
    /// before or behind a PONG: the client could see which were left out.
    pub(crate) fn wrote(&mut self, operations: usize) {
        let last = self.outstanding.back_mut();
        *last.map_or(&mut self.surplus_ok, |last| &mut last.surplus_ok) += operations;
    }

    /// Whether a `+OK` that came is for what the relay wrote.
    pub(crate) fn swallow_ok(&mut self) -> bool {
        let is_surplus = self.surplus_ok > 0;
        self.surplus_ok = self.surplus_ok.saturating_sub(1);
        is_surplus
    }

    /// Whether the client is to wait for answers before it asks more.
    pub(crate) fn are_many(&self) -> bool {
        self.outstanding.len() >= MOST
    }

    /// How many the client waits for.
    pub(crate) fn of_client(&self) -> usize {
        let owners = self.outstanding.iter();
        owners.filter(|one| one.owner == Owner::Client).count()
    }
}
