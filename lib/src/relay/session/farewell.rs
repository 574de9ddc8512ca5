//! A session that ends in good order: the client is held behind its last operation, the server confirms everything it
//! said and delivers what it still has for it, and then nothing is on its way any more.

use super::pings::Fence;
use super::{Event, Session, UpstreamError};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The client is in the middle of an operation, or is being handed over.
    Wanted,
    /// The subscriptions are given up; the answer to the PING behind them is the end.
    Asked,
}

impl Session {
    /// The client gets to know that its server is about to go, in the server's latest words; in those of `first`, with which
    /// it began, if there are no later ones. What the servers say of themselves later keeps saying so.
    ///
    /// # Errors
    /// [`UpstreamError`] if `first` cannot be read.
    pub(crate) fn tell_to_leave(&mut self, first: &[u8]) -> Result<(), UpstreamError> {
        self.settings.info.lame_duck = Some(true);
        match self.latest_info.take() {
            Some(latest) => self.tell_info(&latest),
            None => self.tell_info(first),
        }
    }

    /// Begins to end the session; [`Event::Drained`] says when it can be closed. A handover that is under way is finished
    /// first.
    pub(crate) fn begin_farewell(&mut self) {
        self.farewell.get_or_insert(Farewell::Wanted);
        self.leave_if_possible();
    }

    /// Called whenever the client is between two operations.
    pub(super) fn leave_if_possible(&mut self) {
        let is_possible = self.farewell == Some(Farewell::Wanted)
            && self.handover.is_none()
            && !self.outage
            && self.is_between_operations();
        if !is_possible {
            return;
        }
        self.farewell = Some(Farewell::Asked);
        let mut leaving = Vec::new();
        // Also so that no queue group goes on to count on this member.
        self.interest.leave_current(&mut leaving);
        if self.client.options.verbose {
            let operations = memchr::memchr_iter(b'\n', &leaving).count();
            self.current.pings.wrote(operations);
        }
        self.inject(&leaving);
        self.fence_current(Fence::Farewell);
    }

    pub(super) fn has_left(&mut self) {
        self.events.push_back(Event::Drained);
    }
}
