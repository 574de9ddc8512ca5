//! What the rest of the session asks about frames while both connections deliver.

use super::{Abort, MOST_OWED, Phase};
use crate::relay::session::Session;
use crate::relay::session::interest::Subscription;
use crate::relay::session::link::Held;
use crate::relay::session::matching::FrameHash;

impl Session {
    /// Whether frames of the current connection have twins on the next one.
    pub(in crate::relay::session) fn matches_frames(&self) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.phase != Phase::GivingUp && !handover.is_in_tail())
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

    pub(in crate::relay::session) fn delivered_by_current(
        &mut self,
        hash: FrameHash,
        surely: bool,
    ) {
        if let Some(handover) = &mut self.handover {
            handover.matching.delivered_by_current(hash, surely);
            if handover.matching.owed() > MOST_OWED {
                handover.abort = Some(Abort::TooSlow);
            }
        }
    }

    pub(in crate::relay::session) fn was_delivered(&mut self, hash: FrameHash) -> bool {
        let handover = self.handover.as_mut();
        handover.is_some_and(|handover| handover.matching.was_delivered(hash))
    }

    /// A whole frame of the next connection, of a subscription that both have.
    pub(in crate::relay::session) fn keep_or_settle(&mut self, held: Held) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.phase == Phase::GivingUp {
            return;
        }
        let hash = held.hasher.finish();
        let is_wanted = self
            .interest
            .get(held.key)
            .is_some_and(Subscription::is_live);
        if handover.matching.was_delivered(hash) || !is_wanted {
            return;
        }
        if handover.is_over_for_current() {
            self.traffic.downstream_messages += 1;
            self.deliver_kept(held.key, &held.frame);
        } else {
            handover.matching.keep(held.key, hash, held.frame);
        }
    }
}
