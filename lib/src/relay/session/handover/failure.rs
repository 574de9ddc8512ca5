//! The ways out of a handover: back to the connection in use, or, behind the cut, the end of the client's.

use std::time::Instant;

use super::{Abort, Phase};
use crate::relay::session::pings::Fence;
use crate::relay::session::{Event, Session};

impl Session {
    /// Gives up if there is a way back, else ends the client's connection.
    pub(in crate::relay::session) fn give_up(&mut self, abort: Abort, now: Instant) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        match handover.phase {
            Phase::Cut { .. } => self.close_client(abort),
            // A message of its own is missing.
            Phase::Tail | Phase::AwaitTail if abort == Abort::TooLarge => self.close_client(abort),
            Phase::Tail | Phase::AwaitTail => self.finish(),
            Phase::GivingUp => self.given_up(),
            _ => {
                handover.matching.clear();
                handover.abort = Some(abort);
                let mut leaving = Vec::new();
                // What is under way on the next connection must find its subscription: queue messages are delivered.
                self.interest.leave_next(&mut leaving);
                self.transmit.next.extend_from_slice(&leaving);
                self.enter(Phase::GivingUp, now);
                self.fence_next(Fence::GivenUp);
            }
        }
    }

    /// The client has to come again: what it would get has a hole.
    pub(in crate::relay::session) fn close_client(&mut self, abort: Abort) {
        self.events.push_back(Event::CloseClient(abort));
    }

    /// The next connection is not needed any more, or is gone.
    pub(super) fn given_up(&mut self) {
        self.next = None;
        self.transmit.next.clear();
        if let Some(handover) = self.handover.take() {
            self.interest.leave_next(&mut Vec::new());
            self.interest.forget_copies();
            let abort = handover.abort.unwrap_or(Abort::NextLost);
            self.events.push_back(Event::GivenUp(abort));
        }
    }

    /// The next connection broke.
    pub(in crate::relay::session) fn next_is_lost(&mut self, now: Instant) {
        match &mut self.handover {
            Some(handover) if handover.has_cut() => self.give_up(Abort::NextLost, now),
            Some(handover) if !handover.is_in_tail() => {
                handover.abort.get_or_insert(Abort::NextLost);
                self.given_up();
            }
            _ => {}
        }
    }

    /// The current connection broke: whether the session can go on with another one.
    pub(in crate::relay::session) fn handover_without_current(&mut self) -> bool {
        match &mut self.handover {
            Some(handover) if handover.has_cut() => {
                self.close_client(Abort::CurrentLost);
                false
            }
            Some(handover) if handover.is_in_tail() => {
                self.finish();
                true
            }
            Some(handover) => {
                handover.abort.get_or_insert(Abort::CurrentLost);
                self.given_up();
                true
            }
            None => true,
        }
    }

    /// When [`Session::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let handover = self.handover.as_ref()?;
        Some(match handover.abort {
            Some(Abort::TooSlow) if handover.phase != Phase::GivingUp => handover.since,
            _ => handover.deadline,
        })
    }

    /// The client takes nothing of what waits for it. Behind the cut the answers of the servers are behind that: they are
    /// not late, and how long a client may pause is not decided here.
    pub(crate) fn client_is_behind(&mut self, now: Instant) {
        let step = self.settings.timing.step;
        if let Some(handover) = &mut self.handover
            && handover.has_cut()
        {
            handover.deadline = now + step;
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(handover) = &self.handover else {
            return;
        };
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match handover.phase {
            _ if handover.abort == Some(Abort::TooSlow) && handover.phase != Phase::GivingUp => {
                self.give_up(Abort::TooSlow, now);
            }
            Phase::Spreading(after) => self.has_spread(after, now),
            Phase::Tail => {
                self.enter(Phase::AwaitTail, now);
                self.fence_current(Fence::Tail);
            }
            _ => self.give_up(Abort::Timeout, now),
        }
    }
}
