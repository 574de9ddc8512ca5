//! How subscriptions get from one upstream connection to another.

use super::subscription::{Life, Passage, Subscription, unsubscribe};
use super::{Interest, Meant};

impl Interest {
    /// Every subscription of this moment that is not on the next connection may move once the current one has confirmed
    /// them.
    pub(crate) fn mark(&mut self) {
        for known in self.live_mut() {
            if let Passage::Here = known.passage {
                known.passage = Passage::Marked;
            }
        }
    }

    /// Whether there are subscriptions that came after the mark.
    pub(crate) fn has_late(&self) -> bool {
        self.live()
            .any(|known| matches!(known.passage, Passage::Here))
    }

    /// Subscribes on the next connection what was marked, queue members apart from the others; how many.
    pub(crate) fn move_marked(&mut self, queue: bool, out: &mut Vec<u8>) -> usize {
        self.move_those(out, |known| {
            matches!(known.passage, Passage::Marked) && known.is_queue() == queue
        })
    }

    fn move_those(&mut self, out: &mut Vec<u8>, which: impl Fn(&Subscription) -> bool) -> usize {
        // In the order in which the client subscribed.
        let mut moving: Vec<_> = self.slots.iter_mut().flatten().collect();
        moving.retain(|(_, known)| known.is_live() && which(known));
        moving.sort_unstable_by_key(|(serial, _)| *serial);
        for (_, known) in &mut moving {
            let place = known.subscribe(out);
            known.passage = Passage::There {
                place,
                fenced: false,
            };
        }
        moving.len()
    }

    /// The current connection has passed a fence behind the moment when the next one had all that is there.
    pub(crate) fn fence_moved(&mut self) {
        for (_, known) in self.slots.iter_mut().flatten() {
            if let Passage::There { fenced, .. } = &mut known.passage {
                *fenced = true;
            }
        }
    }

    /// The next connection's server refused what was meant.
    pub(crate) fn refused_on_next(&mut self, meant: &Meant<'_>) {
        for (_, known) in self.slots.iter_mut().flatten() {
            if known.is_on_next() && meant.is(known) {
                known.passage = Passage::Refused;
            }
        }
    }

    /// The next connection's server had no room for so many of what it was told last, queue members or others: the newest.
    pub(crate) fn too_many_on_next(&mut self, too_many: usize, queue: bool) {
        let mut told: Vec<_> = self.slots.iter_mut().flatten().collect();
        told.retain(|(_, known)| {
            known.is_on_next() && !known.is_fenced() && known.is_queue() == queue
        });
        told.sort_unstable_by_key(|(serial, _)| std::cmp::Reverse(*serial));
        for (_, known) in told.into_iter().take(too_many) {
            known.passage = Passage::Refused;
        }
    }

    /// Unsubscribes everything on the current connection.
    pub(crate) fn leave_current(&self, out: &mut Vec<u8>) {
        for known in self.live() {
            unsubscribe(out, &known.sid.0, None);
        }
    }

    /// Unsubscribes on the next connection what is there, and forgets that it was.
    pub(crate) fn leave_next(&mut self, out: &mut Vec<u8>) {
        for (_, known) in self.slots.iter_mut().flatten() {
            if known.is_on_next() {
                unsubscribe(out, &known.sid.0, None);
            }
            known.passage = Passage::Here;
        }
    }

    /// The next connection is the current one from now on.
    pub(crate) fn switch(&mut self) {
        self.remove_those(|_, known| matches!(known.passage, Passage::Refused));
        for (_, known) in self.slots.iter_mut().flatten() {
            if let Passage::There { place, .. } = known.passage {
                known.current = place;
                known.passage = Passage::Moved;
            }
            // The former connection has delivered the rest, except that a queue message has only one receiver.
            if known.life == Life::Left && !known.is_queue() {
                known.life = Life::Ended;
            }
        }
    }

    /// No copies come any more, nor anything for what is not wanted.
    pub(crate) fn settle(&mut self) {
        self.remove_those(|_, known| !known.is_live());
        for known in self.live_mut() {
            known.passage = Passage::Here;
        }
    }

    /// Subscribes everything on a connection that knows nothing yet and becomes the current one.
    pub(crate) fn replay(&mut self, out: &mut Vec<u8>) {
        self.settle();
        self.move_those(out, |_| true);
        self.switch();
        self.settle();
    }
}
