//! What the rest of the session asks about frames while both connections deliver.

use std::time::Instant;

use super::{Abort, Phase};
use crate::relay::session::Session;
use crate::relay::session::interest::{Key, Subscription};
use crate::relay::session::matching::{Delivered, FrameHash};

impl Session {
    /// Whether frames of the current connection have twins on the next one.
    pub(in crate::relay::session) fn matches_frames(&self) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.phase != Phase::GivingUp && !handover.is_in_tail())
    }

    /// Whether the next connection may send what the current one delivers now. Another server may get it later than the
    /// subscription.
    pub(in crate::relay::session) fn may_be_owed(&self, known: &Subscription) -> bool {
        let handover = self.handover.as_ref();
        let is_elsewhere = handover.is_some_and(|handover| !handover.is_same_server);
        !known.is_queue() && (known.is_on_next() || (is_elsewhere && known.is_marked()))
    }

    /// Whether the current connection, once the next one, may still send copies.
    pub(in crate::relay::session) fn owes_copies(&self) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.is_in_tail() && handover.matching.owed() > 0)
    }

    /// Whether PINGs of the server are the relay's to answer, because the client may be held.
    pub(in crate::relay::session) fn answers_pings(&self) -> bool {
        self.handover
            .as_ref()
            .is_some_and(|handover| !handover.is_in_tail())
    }

    pub(in crate::relay::session) fn delivered_by_current(&mut self, delivered: Delivered) {
        if let Some(handover) = &mut self.handover {
            handover.matching.delivered_by_current(delivered);
            // Behind the cut there is no way back, and no more to come than the server had.
            if handover.owes_too_much() && !handover.has_cut() {
                handover.abort = Some(Abort::TooSlow);
            }
        }
    }

    /// Whether the former connection waits, behind the cut, until copies have come of what it delivered.
    pub(in crate::relay::session) fn waits_for_copies(&self) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.has_cut() && handover.owes_too_much())
    }

    pub(in crate::relay::session) fn was_delivered(&mut self, hash: FrameHash) -> bool {
        let handover = self.handover.as_mut();
        handover.is_some_and(|handover| handover.matching.was_delivered(hash))
    }

    /// A whole frame of the next connection, of a subscription that both have.
    pub(in crate::relay::session) fn keep_or_settle(
        &mut self,
        key: Key,
        hash: FrameHash,
        frame: Option<Vec<u8>>,
        now: Instant,
    ) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.phase == Phase::GivingUp {
            return;
        }
        let is_wanted = self.interest.get(key).is_some_and(Subscription::is_live);
        if handover.matching.was_delivered(hash) || !is_wanted {
            return;
        }
        let is_over_for_current = handover.is_over_for_current();
        match frame {
            Some(frame) if is_over_for_current => {
                self.traffic.downstream_messages += 1;
                self.deliver_kept(key, &frame);
            }
            Some(frame) => handover.matching.keep(key, hash, frame),
            None => self.give_up(Abort::TooLarge, now),
        }
    }
}
