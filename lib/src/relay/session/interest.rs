//! What a client has subscribed to, and what has been delivered: the part of a session that an upstream connection
//! must be told again. Must not know how a handover proceeds.

mod delivery;
mod passage;
mod subscription;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use subscription::{Life, Passage, Place};
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
    /// To be told in place of what the client said, with this maximum: the server did not count from the start.
    pub(crate) current: Option<Option<u64>>,
    /// To be told on the next connection too, with this maximum.
    pub(crate) next: Option<Option<u64>>,
}

/// Which subscriptions a server means.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meant<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) queue: Option<&'a [u8]>,
    /// Some: this one only.
    pub(crate) sid: Option<&'a [u8]>,
}

impl Meant<'_> {
    fn is(&self, known: &Subscription) -> bool {
        *known.subject == *self.subject
            && known.queue.as_deref() == self.queue
            && self.sid.is_none_or(|sid| known.sid.0[..] == *sid)
    }
}

/// Every live subscription of a client, and others for as long as messages for them may be under way.
#[derive(Debug)]
pub(crate) struct Interest {
    slots: Vec<Option<(u64, Subscription)>>,
    free: Vec<Slot>,
    by_sid: HashMap<Sid, Slot>,
    /// Where the last message went: the next one usually goes there too.
    recent: Slot,
    serial: u64,
    /// Of the live ones only: the others are what a handover moved, so there are never more of them than were live.
    live: usize,
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
            live: 0,
            bytes: 0,
            limits,
        }
    }

    /// Adds a subscription, unless its identifier is in use: as in nats-server, that changes nothing. Whether it did.
    pub(crate) fn add(
        &mut self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> Result<bool, Full> {
        if let Some(slot) = self.by_sid.get(sid).copied() {
            if self.entry(slot).is_some_and(Subscription::is_live) {
                return Ok(false);
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
            passage: Passage::Here,
            life: Life::Live,
        };
        let bytes = self.bytes.saturating_add(subscription.cost());
        if self.live >= self.limits.subscriptions || bytes > self.limits.bytes {
            return Err(Full);
        }
        self.live += 1;
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
        Ok(true)
    }

    /// The client unsubscribed, at once or after `max` messages in all. What may still come as a copy is remembered.
    pub(crate) fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>) -> Unsubscribed {
        let Some(slot) = self.by_sid.get(sid).copied() else {
            return Unsubscribed::default();
        };
        let Some((_, known)) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return Unsubscribed::default();
        };
        if !known.is_live() {
            return Unsubscribed::default();
        }
        let Some(max) = max.filter(|max| *max > known.delivered) else {
            // Its server would wait for as many again.
            let is_unknown_there = max.is_some_and(|max| max > known.current.sent);
            let (is_on_next, may_be_copied) = (known.is_on_next(), known.may_be_copied());
            if may_be_copied {
                self.end(slot, Life::Left);
            } else {
                self.remove(slot);
            }
            return Unsubscribed {
                current: is_unknown_there.then_some(None),
                next: is_on_next.then_some(None),
            };
        };
        known.max = Some(max);
        let remaining = max - known.delivered;
        let granted = known.current.sent.saturating_add(remaining);
        known.current.granted = Some(granted);
        let next = match &mut known.passage {
            Passage::There { place, .. } => {
                place.granted = Some(place.sent.saturating_add(remaining));
                Some(place.granted)
            }
            _ => None,
        };
        Unsubscribed {
            current: (granted != max).then_some(Some(granted)),
            next,
        }
    }

    /// The server of the current connection refused or withdrew what was meant; which of it is on the next one. If it
    /// names none, it means what it was told behind number `confirmed`.
    pub(crate) fn denied(&mut self, meant: &Meant<'_>, confirmed: u64) -> Vec<Sid> {
        let mut on_next = Vec::new();
        self.remove_those(|serial, known| {
            let is_meant = meant.is(known) && (meant.sid.is_some() || serial > confirmed);
            if is_meant && known.is_on_next() {
                on_next.push(known.sid.clone());
            }
            is_meant
        });
        on_next
    }

    /// The server of the current connection refused these subscriptions, by number.
    pub(crate) fn denied_numbers(&mut self, numbers: &RangeInclusive<u64>) {
        self.remove_those(|serial, _| numbers.contains(&serial));
    }

    /// The number of the newest subscription.
    pub(crate) fn newest(&self) -> u64 {
        self.serial
    }

    /// Not wanted any more, but remembered.
    fn end(&mut self, slot: Slot, life: Life) {
        if let Some((_, known)) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && known.is_live()
        {
            known.life = life;
            self.live -= 1;
            self.bytes = self.bytes.saturating_sub(known.cost());
        }
    }

    fn remove(&mut self, slot: Slot) {
        self.end(slot, Life::Ended);
        if let Some((_, gone)) = self.slots.get_mut(slot).and_then(Option::take) {
            self.by_sid.remove(&gone.sid);
            self.free.push(slot);
        }
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

    /// The next connection is gone, and no copies come: what is not wanted is remembered only if the current one may still
    /// send more of it than the client asked for.
    pub(crate) fn forget_copies(&mut self) {
        self.remove_those(|_, known| match known.life {
            Life::Live => false,
            Life::Left => true,
            Life::Ended => known.current.is_used_up(),
        });
    }

    /// How many subscriptions are remembered, wanted or not.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.by_sid.len()
    }

    fn remove_those(&mut self, mut which: impl FnMut(u64, &Subscription) -> bool) {
        for slot in 0..self.slots.len() {
            let entry = self.slots.get(slot).and_then(Option::as_ref);
            if entry.is_some_and(|(serial, known)| which(*serial, known)) {
                self.remove(slot);
            }
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
