//! A message that goes to the client as it comes while its copy is expected on the next connection.

use super::interest::Key;
use super::matching::{Delivered, FrameHasher};

/// What a server says to one connection alone: nobody is there to answer what was asked on it.
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503";

pub(super) struct Passing {
    key: Key,
    surely: bool,
    hasher: FrameHasher,
    /// How much of that its headers have begun with; none if they have not.
    begins: Option<usize>,
}

impl Passing {
    /// Begins with the control line.
    pub(super) fn new(key: Key, surely: bool, headers: bool, line: &[u8]) -> Self {
        let mut hasher = FrameHasher::default();
        hasher.update(line);
        Self {
            key,
            surely,
            hasher,
            begins: headers.then_some(0),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.begins = self.begins.and_then(|begins| {
            let rest = NO_RESPONDERS.get(begins..)?;
            let length = rest.len().min(bytes.len());
            (rest.get(..length) == bytes.get(..length)).then_some(begins + length)
        });
    }

    /// It is whole.
    pub(super) fn finish(self) -> Delivered {
        Delivered {
            key: self.key,
            hash: self.hasher.finish(),
            surely: self.surely,
            is_for_one: self.begins == Some(NO_RESPONDERS.len()),
        }
    }
}
