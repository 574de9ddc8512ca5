//! How subscriptions get from one upstream connection to another.

use super::Interest;
use super::subscription::{Life, OnNext, Subscription, unsubscribe};

impl Interest {
    /// Every subscription of this moment may move once the current connection has confirmed them.
    pub(crate) fn mark(&mut self) {
        for known in self.live_mut() {
            known.next = OnNext::Marked;
        }
    }

    /// Subscribes on the next connection what was marked, queue members apart from the others; how many.
    pub(crate) fn move_marked(&mut self, queue: bool, out: &mut Vec<u8>) -> usize {
        self.move_those(out, |known| {
            matches!(known.next, OnNext::Marked) && known.is_queue() == queue
        })
    }

    /// Subscribes on the next connection what came after the mark; how many.
    pub(crate) fn move_late(&mut self, out: &mut Vec<u8>) -> usize {
        self.move_those(out, |known| matches!(known.next, OnNext::No))
    }

    pub(crate) fn has_late(&self) -> bool {
        self.live().any(|known| matches!(known.next, OnNext::No))
    }

    fn move_those(&mut self, out: &mut Vec<u8>, which: impl Fn(&Subscription) -> bool) -> usize {
        // In the order in which the client subscribed.
        let mut moving: Vec<_> = self.slots.iter_mut().flatten().collect();
        moving.retain(|(_, known)| known.is_live() && which(known));
        moving.sort_unstable_by_key(|(serial, _)| *serial);
        for (_, known) in &mut moving {
            known.next = OnNext::Yes(known.subscribe(out));
        }
        moving.len()
    }

    /// Unsubscribes everything on the current connection; how many.
    pub(crate) fn leave_current(&self, out: &mut Vec<u8>) -> usize {
        let leaving = self.live().map(|known| {
            unsubscribe(out, &known.sid.0, None);
        });
        leaving.count()
    }

    /// Unsubscribes on the next connection what is there, and forgets that it was.
    pub(crate) fn leave_next(&mut self, out: &mut Vec<u8>) {
        for (_, known) in self.slots.iter_mut().flatten() {
            if known.is_on_next() {
                unsubscribe(out, &known.sid.0, None);
            }
            known.next = OnNext::No;
        }
    }

    /// The next connection is the current one from now on.
    pub(crate) fn switch(&mut self) {
        for (_, known) in self.slots.iter_mut().flatten() {
            if let OnNext::Yes(place) = std::mem::replace(&mut known.next, OnNext::No) {
                known.current = place;
            }
            // The former connection has delivered the rest, except that a queue message has only one receiver.
            if known.life == Life::Left && !known.is_queue() {
                known.life = Life::Ended;
            }
        }
    }

    /// Subscribes everything on a connection that knows nothing yet and becomes the current one.
    pub(crate) fn replay(&mut self, out: &mut Vec<u8>) {
        self.forget_unwanted();
        self.leave_next(&mut Vec::new());
        self.move_late(out);
        self.switch();
    }
}
