//! While two upstream connections deliver the same subscriptions: which frame of the next one the client has had already.
//! Matching happens on arrival, both ways, so memory is the skew of the two streams and not the length of the overlap.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::interest::Key;

/// Of a whole frame: control line, headers, payload. Not to be forged by whoever chooses payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FrameHash([u8; 16]);

/// A frame that comes in pieces.
#[derive(Clone, Default)]
pub(crate) struct FrameHasher(Sha256);

impl FrameHasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> FrameHash {
        let mut short = [0; 16];
        for (short, long) in short.iter_mut().zip(self.0.finalize()) {
            *short = long;
        }
        FrameHash(short)
    }
}

/// A frame that the client got from the current connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivered {
    pub(crate) key: Key,
    pub(crate) hash: FrameHash,
    /// The next connection will send it, and not only perhaps.
    pub(crate) surely: bool,
    /// A server may say it to one connection alone.
    pub(crate) is_for_one: bool,
}

/// A frame of the next connection whose twin has not come on the current one.
pub(crate) struct Pending {
    pub(crate) key: Key,
    pub(crate) frame: Vec<u8>,
}

/// How often the current connection delivered a frame whose copy has not come on the next one.
#[derive(Debug, Clone, Copy)]
struct Owed {
    key: Key,
    surely: u32,
    /// Delivered before its subscription was fenced: perhaps routed before the next connection had that.
    perhaps: u32,
    is_for_one: bool,
}

/// The skew of the two streams.
#[derive(Default)]
pub(crate) struct Matching {
    owed: HashMap<FrameHash, Owed>,
    owed_frames: usize,
    /// In the order of the next connection; a hole where the twin came later.
    pending: VecDeque<Option<Pending>>,
    /// The number of the first of `pending`.
    first: u64,
    by_hash: HashMap<FrameHash, VecDeque<u64>>,
    pending_bytes: usize,
}

impl Matching {
    /// The client got a frame from the current connection, and will surely get a copy from the next one, or perhaps.
    pub(crate) fn delivered_by_current(&mut self, delivered: Delivered) {
        if let Some(number) = self.oldest_twin(delivered.hash) {
            self.cancel(number);
            return;
        }
        let owed = self.owed.entry(delivered.hash).or_insert(Owed {
            key: delivered.key,
            surely: 0,
            perhaps: 0,
            is_for_one: delivered.is_for_one,
        });
        if delivered.surely {
            owed.surely += 1;
        } else {
            owed.perhaps += 1;
        }
        self.owed_frames += 1;
    }

    /// Whether the client has had this frame of the next connection; then it is settled.
    pub(crate) fn was_delivered(&mut self, hash: FrameHash) -> bool {
        let Some(owed) = self.owed.get_mut(&hash) else {
            return false;
        };
        // The next connection delivers in order too: the older debt first.
        if owed.perhaps > 0 {
            owed.perhaps -= 1;
        } else {
            owed.surely -= 1;
        }
        if owed.perhaps == 0 && owed.surely == 0 {
            self.owed.remove(&hash);
        }
        self.owed_frames -= 1;
        true
    }

    /// Keeps a frame of the next connection until its twin comes or the connections change places.
    pub(crate) fn keep(&mut self, key: Key, hash: FrameHash, frame: Vec<u8>) {
        let number = self.first + self.pending.len() as u64;
        self.pending_bytes += frame.len();
        self.pending.push_back(Some(Pending { key, frame }));
        self.by_hash.entry(hash).or_default().push_back(number);
    }

    fn oldest_twin(&mut self, hash: FrameHash) -> Option<u64> {
        let numbers = self.by_hash.get_mut(&hash)?;
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.by_hash.remove(&hash);
        }
        number
    }

    fn cancel(&mut self, number: u64) {
        let place = usize::try_from(number - self.first).ok();
        if let Some(entry) = place.and_then(|place| self.pending.get_mut(place))
            && let Some(cancelled) = entry.take()
        {
            self.pending_bytes -= cancelled.frame.len();
        }
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.first += 1;
        }
    }

    /// The next connection has passed the fence too: what it perhaps owed from before, it will not send.
    pub(crate) fn forget_perhaps(&mut self) {
        self.owed.retain(|_, owed| {
            self.owed_frames -= owed.perhaps as usize;
            owed.perhaps = 0;
            owed.surely > 0
        });
    }

    /// Everything kept, in order; nothing is kept afterwards.
    pub(crate) fn take_pending(&mut self) -> impl Iterator<Item = Pending> + use<> {
        self.by_hash.clear();
        self.pending_bytes = 0;
        self.first += self.pending.len() as u64;
        std::mem::take(&mut self.pending).into_iter().flatten()
    }

    /// Frames the next connection still owes.
    pub(crate) fn owed(&self) -> usize {
        self.owed_frames
    }

    /// The same, of some subscriptions, without what a server may say to one connection alone.
    pub(crate) fn missing(&self, which: impl Fn(Key) -> bool) -> usize {
        let owed = self.owed.values();
        let owed = owed.filter(|owed| !owed.is_for_one && which(owed.key));
        owed.map(|owed| (owed.surely + owed.perhaps) as usize).sum()
    }

    /// Bytes kept.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
