//! What is counted with each message, so that a maximum is kept to.

use super::subscription::{Life, Passage};
use super::{Interest, Key};

/// What one more message for a subscription means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Its maximum was reached before: the client must not see it.
    pub(crate) surplus: bool,
    /// It was the last one.
    pub(crate) ends: bool,
    /// It was the last one, but the current connection's server does not know.
    pub(crate) ends_on_current: bool,
    /// The same for the next connection.
    pub(crate) ends_on_next: bool,
}

impl Interest {
    /// The current connection sent a message; it counts for its server, whoever gets it.
    pub(crate) fn sent_by_current(&mut self, key: Key) {
        if let Some(known) = self.get_mut(key) {
            known.current.sent += 1;
        }
    }

    /// The next connection sent a message.
    pub(crate) fn sent_by_next(&mut self, key: Key) {
        if let Some(known) = self.get_mut(key)
            && let Passage::There { place, .. } = &mut known.passage
        {
            place.sent += 1;
        }
    }

    /// The client is about to get a message; with the last one its subscription ends.
    pub(crate) fn deliver(&mut self, key: Key) -> Delivery {
        let Some(known) = self.get_mut(key) else {
            return Delivery::default();
        };
        if !known.is_live() {
            return Delivery {
                surplus: known.life == Life::Ended,
                ..Delivery::default()
            };
        }
        known.delivered += 1;
        if known.max.is_none_or(|max| known.delivered < max) {
            return Delivery::default();
        }
        let delivery = Delivery {
            surplus: false,
            ends: true,
            ends_on_current: !known.current.is_used_up(),
            ends_on_next: known.is_on_next(),
        };
        if delivery.ends_on_current || known.may_be_copied() {
            self.end(key.slot, Life::Ended);
        } else {
            self.remove(key.slot);
        }
        delivery
    }
}
