//! Numbered, dated messages whose every byte is known: what is sent, and whether it arrived whole.

use std::time::Duration;

const MARK: [u8; 4] = *b"LOAD";
const FILL: [u8; 4096] = [b'.'; 4096];

/// The shortest payload that holds a [`Stamp`].
pub const SHORTEST: usize = 24;

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Who sent it.
    pub publisher: u32,
    /// Its number: 0, 1, 2 … for each publisher.
    pub sequence: u64,
    /// When it was due, by the clock of the run.
    pub due: Duration,
}

impl Stamp {
    /// Writes it over the start of a payload that [`blank`] made.
    ///
    /// # Panics
    /// When the payload is shorter than [`SHORTEST`].
    pub fn write(&self, payload: &mut [u8]) {
        let due = u64::try_from(self.due.as_nanos()).expect("a run of less than 584 years");
        payload[..4].copy_from_slice(&MARK);
        payload[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        payload[16..24].copy_from_slice(&due.to_le_bytes());
    }

    /// Reads the stamp alone; nothing if there is none.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (mark, rest) = payload.split_first_chunk::<4>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (due, _) = rest.split_first_chunk::<8>()?;
        (*mark == MARK).then(|| Self {
            publisher: u32::from_le_bytes(*publisher),
            sequence: u64::from_le_bytes(*sequence),
            due: Duration::from_nanos(u64::from_le_bytes(*due)),
        })
    }

    /// Reads it out of a payload of `size` bytes in which nothing else was changed.
    #[must_use]
    pub fn read_whole(payload: &[u8], size: usize) -> Option<Self> {
        let fill = payload.get(SHORTEST..)?;
        let whole = payload.len() == size
            && fill
                .chunks(FILL.len())
                .all(|chunk| *chunk == FILL[..chunk.len()]);
        whole.then(|| Self::read(payload)).flatten()
    }
}

/// A payload of `size` bytes to write stamps over.
#[must_use]
pub fn blank(size: usize) -> Vec<u8> {
    vec![FILL[0]; size]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_a_changed_byte_is_noticed() {
        let stamp = Stamp {
            publisher: 7,
            sequence: u64::MAX - 1,
            due: Duration::from_nanos(12_345_678_901),
        };
        for size in [SHORTEST, 128, 4096 + SHORTEST + 1, 100_000] {
            let mut payload = blank(size);
            stamp.write(&mut payload);
            assert_eq!(Stamp::read_whole(&payload, size), Some(stamp), "{size}");
            assert_eq!(Stamp::read_whole(&payload, size + 1), None, "{size}");
            let last = payload.len() - 1;
            payload[if size == SHORTEST { 0 } else { last }] ^= 1;
            assert_eq!(Stamp::read_whole(&payload, size), None, "{size}");
        }
        assert_eq!(Stamp::read(b"LOAD"), None);
    }
}
