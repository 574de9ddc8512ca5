//! What a client has subscribed to, and what has been delivered: the part of a session that an upstream connection
//! must be told again. Must not know how a handover proceeds.

use std::borrow::Borrow;
use std::collections::HashMap;

/// A subscription's identifier, chosen by the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sid(Box<[u8]>);

impl Sid {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Sid {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// A subscription as the server of one upstream connection knows it.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Messages it sent: what the server counts against a maximum.
    sent: u64,
    /// The maximum the server was told.
    granted: Option<u64>,
}

impl Place {
    /// Whether the server has ended it by itself.
    fn is_used_up(&self) -> bool {
        self.granted.is_some_and(|granted| self.sent >= granted)
    }
}

/// Where a subscription stands on the next upstream connection.
#[derive(Debug, Clone, Copy)]
enum OnNext {
    /// Not there, and the current connection has not confirmed it for this handover.
    No,
    /// Confirmed by the current connection; its turn to move comes.
    Marked,
    /// Subscribed there.
    Yes(Place),
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    sid: Sid,
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    /// The total after which it ends by itself.
    max: Option<u64>,
    /// Messages the client got.
    delivered: u64,
    current: Place,
    next: OnNext,
    life: Life,
}

/// Whether a subscription is still wanted. What is not wanted any more is remembered for a while, because messages for
/// it are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Live,
    /// The client unsubscribed; what the current connection still delivers is its own.
    Left,
    /// Nothing that comes now is for the client: it got its maximum, or another connection has delivered the rest.
    Ended,
}

impl Subscription {
    pub(crate) fn sid(&self) -> &Sid {
        &self.sid
    }

    pub(crate) fn is_queue(&self) -> bool {
        self.queue.is_some()
    }

    pub(crate) fn is_on_next(&self) -> bool {
        matches!(self.next, OnNext::Yes(_))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.life == Life::Live
    }

    /// How many more the client may get.
    fn remaining(&self) -> Option<u64> {
        self.max.map(|max| max.saturating_sub(self.delivered))
    }

    fn cost(&self) -> usize {
        let queue = self.queue.as_ref().map_or(0, |queue| queue.len());
        self.sid.0.len() + self.subject.len() + queue
    }

    /// Subscribes on a connection that does not know it.
    fn subscribe(&self, out: &mut Vec<u8>) -> Place {
        out.extend_from_slice(b"SUB ");
        out.extend_from_slice(&self.subject);
        if let Some(queue) = &self.queue {
            out.push(b' ');
            out.extend_from_slice(queue);
        }
        out.push(b' ');
        out.extend_from_slice(&self.sid.0);
        out.extend_from_slice(b"\r\n");
        let granted = self.remaining();
        if granted.is_some() {
            unsubscribe(out, &self.sid.0, granted);
        }
        Place { sent: 0, granted }
    }
}

/// Writes an `UNSUB`.
pub(crate) fn unsubscribe(out: &mut Vec<u8>, sid: &[u8], max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    out.extend_from_slice(sid);
    if let Some(max) = max {
        out.push(b' ');
        out.extend_from_slice(max.to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

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
