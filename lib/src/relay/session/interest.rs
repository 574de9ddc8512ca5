//! What a client has subscribed to, and what has been delivered: the part of a session that an upstream connection
//! must be told again. Must not know how a handover proceeds.

mod passage;
mod subscription;

use std::collections::HashMap;

use subscription::{Life, OnNext, Place};
pub(crate) use subscription::{Sid, Subscription, unsubscribe};

/// A subscription's place in the table; another one may get it once this one is gone.
type Slot = usize;

/// Which subscription a message that was kept belongs to, even if its identifier is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    slot: Slot,
    serial: u64,
}

/// How much a client may subscribe to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InterestLimits {
    pub(crate) subscriptions: usize,
    /// Of subjects, queue names and identifiers together.
    pub(crate) bytes: usize,
}

/// The table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What an `UNSUB` of the client means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsubscribed {
    /// The server must be told another maximum than the client said, because it did not count from the start.
    pub(crate) current_max: Option<u64>,
    /// To be told on the next connection too, with this maximum.
    pub(crate) next: Option<Option<u64>>,
}

/// What one more message for a subscription means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Its maximum was reached before: the client must not see it.
    pub(crate) surplus: bool,
    /// It was the last one, but the current connection's server does not know.
    pub(crate) ends_on_current: bool,
    /// The same for the next connection.
    pub(crate) ends_on_next: bool,
}

/// Every live subscription of a client.
#[derive(Debug)]
pub(crate) struct Interest {
    slots: Vec<Option<(u64, Subscription)>>,
    free: Vec<Slot>,
    by_sid: HashMap<Sid, Slot>,
    /// Where the last message went: the next one usually goes there too.
    recent: Slot,
    serial: u64,
    bytes: usize,
    limits: InterestLimits,
}

impl Interest {
    pub(crate) fn new(limits: InterestLimits) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_sid: HashMap::new(),
            recent: 0,
            serial: 0,
            bytes: 0,
            limits,
        }
    }

    /// Adds a subscription. As in nats-server, a `SUB` with an identifier in use changes nothing.
    pub(crate) fn add(
        &mut self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> Result<(), Full> {
        if let Some(slot) = self.by_sid.get(sid).copied() {
            if self.entry(slot).is_some_and(Subscription::is_live) {
                return Ok(());
            }
            self.remove(slot);
        }
        let subscription = Subscription {
            sid: Sid(sid.into()),
            subject: subject.into(),
            queue: queue.map(Into::into),
            max: None,
            delivered: 0,
            current: Place::default(),
            next: OnNext::No,
            life: Life::Live,
        };
        let bytes = self.bytes.saturating_add(subscription.cost());
        if self.by_sid.len() >= self.limits.subscriptions || bytes > self.limits.bytes {
            return Err(Full);
        }
        self.bytes = bytes;
        self.serial += 1;
        let key = subscription.sid.clone();
        let entry = Some((self.serial, subscription));
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot) {
                    *place = entry;
                }
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() - 1
            }
        };
        self.by_sid.insert(key, slot);
        Ok(())
    }

    /// The client unsubscribed, at once or after `max` messages in all. During a handover (`remember`) what is under way
    /// must still be told from copies.
    pub(crate) fn unsubscribe(
        &mut self,
        sid: &[u8],
        max: Option<u64>,
        remember: bool,
    ) -> Unsubscribed {
        let Some(slot) = self.by_sid.get(sid).copied() else {
            return Unsubscribed::default();
        };
        let Some((_, known)) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return Unsubscribed::default();
        };
        let Some(max) = max.filter(|max| *max > known.delivered) else {
            let on_next = known.is_on_next();
            if remember && known.is_live() {
                known.life = Life::Left;
            } else {
                self.remove(slot);
            }
            return Unsubscribed {
                current_max: None,
                next: on_next.then_some(None),
            };
        };
        known.max = Some(max);
        let remaining = max - known.delivered;
        let granted = known.current.sent.saturating_add(remaining);
        known.current.granted = Some(granted);
        let next = match &mut known.next {
            OnNext::Yes(place) => {
                place.granted = Some(place.sent.saturating_add(remaining));
                Some(place.granted)
            }
            OnNext::No | OnNext::Marked => None,
        };
        Unsubscribed {
            current_max: (granted != max).then_some(granted),
            next,
        }
    }

    /// The server refused or withdrew every subscription to `subject` in `queue`.
    pub(crate) fn denied(&mut self, subject: &[u8], queue: Option<&[u8]>) {
        self.remove_those(|known| &*known.subject == subject && known.queue.as_deref() == queue);
    }

    fn remove(&mut self, slot: Slot) {
        let Some((_, gone)) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(gone.cost());
        self.by_sid.remove(&gone.sid);
        self.free.push(slot);
    }

    /// Finds the subscription a message is for.
    pub(crate) fn find(&mut self, sid: &[u8]) -> Option<Key> {
        if let Some(Some((serial, subscription))) = self.slots.get(self.recent)
            && &*subscription.sid.0 == sid
        {
            return Some(Key {
                slot: self.recent,
                serial: *serial,
            });
        }
        let slot = self.by_sid.get(sid).copied()?;
        let (serial, _) = self.slots.get(slot)?.as_ref()?;
        self.recent = slot;
        Some(Key {
            slot,
            serial: *serial,
        })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Subscription> {
        let (serial, subscription) = self.slots.get(key.slot)?.as_ref()?;
        (*serial == key.serial).then_some(subscription)
    }

    fn get_mut(&mut self, key: Key) -> Option<&mut Subscription> {
        let (serial, subscription) = self.slots.get_mut(key.slot)?.as_mut()?;
        (*serial == key.serial).then_some(subscription)
    }

    /// The current connection sent a message; it counts for its server, whoever gets it.
    pub(crate) fn sent_by_current(&mut self, key: Key) {
        if let Some(known) = self.get_mut(key) {
            known.current.sent += 1;
        }
    }

    /// The next connection sent a message.
    pub(crate) fn sent_by_next(&mut self, key: Key) {
        if let Some(known) = self.get_mut(key)
            && let OnNext::Yes(place) = &mut known.next
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
        known.life = Life::Ended;
        let delivery = Delivery {
            surplus: false,
            ends_on_current: !known.current.is_used_up(),
            ends_on_next: known.is_on_next(),
        };
        if !delivery.ends_on_current && !delivery.ends_on_next {
            self.remove(key.slot);
        }
        delivery
    }

    /// No server sends anything any more for what is not wanted.
    pub(crate) fn forget_unwanted(&mut self) {
        self.remove_those(|known| !known.is_live());
    }

    /// The next connection is gone: there are no copies to be told from what the client left.
    pub(crate) fn forget_left(&mut self) {
        self.remove_those(|known| known.life == Life::Left);
    }

    fn remove_those(&mut self, which: impl Fn(&Subscription) -> bool) {
        let slots = 0..self.slots.len();
        let those: Vec<_> = slots
            .filter(|slot| self.entry(*slot).is_some_and(&which))
            .collect();
        for slot in those {
            self.remove(slot);
        }
    }
    fn entry(&self, slot: Slot) -> Option<&Subscription> {
        let (_, known) = self.slots.get(slot)?.as_ref()?;
        Some(known)
    }

    fn live(&self) -> impl Iterator<Item = &Subscription> {
        let known = self.slots.iter().flatten().map(|(_, known)| known);
        known.filter(|known| known.is_live())
    }

    fn live_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        let known = self.slots.iter_mut().flatten().map(|(_, known)| known);
        known.filter(|known| known.is_live())
    }
}
