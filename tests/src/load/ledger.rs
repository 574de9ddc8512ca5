//! The ledger of one receiver: which numbered messages came, how often, in which order, and how
//! long nothing came although something was due. No I/O, no clock.

use std::collections::BTreeSet;
use std::time::Duration;

use super::payload::Stamp;

/// A pause shorter than this is how batches look, and is not kept.
const SHORTEST_STALL: Duration = Duration::from_micros(500);

/// What one receiver got of one publisher.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    missing: BTreeSet<u64>,
    tally: Tally,
    last_arrival: Duration,
    stalls: Vec<Stall>,
}

/// The verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages that arrived, repeated ones too.
    pub received: u64,
    /// Sent, but never arrived.
    pub lost: u64,
    /// Arrived once more.
    pub repeated: u64,
    /// Arrived after a message with a higher number.
    pub reordered: u64,
    /// Arrived with other bytes than were sent.
    pub damaged: u64,
}

/// A time in which a message was due and nothing arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When the next message arrived, by the clock of the run.
    pub until: Duration,
    /// How long it lasted.
    pub length: Duration,
}

impl Tally {
    /// The two of a conversation together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            lost: self.lost + other.lost,
            repeated: self.repeated + other.repeated,
            reordered: self.reordered + other.reordered,
            damaged: self.damaged + other.damaged,
        }
    }

    /// Lost, repeated, reordered and damaged in one: 0 if all came once, whole and in order.
    #[must_use]
    pub fn wrong(self) -> u64 {
        self.lost + self.repeated + self.reordered + self.damaged
    }
}

impl Ledger {
    /// A message arrived.
    pub fn arrived(&mut self, stamp: Stamp, now: Duration) {
        self.tally.received += 1;
        let sequence = stamp.sequence;
        if sequence >= self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
        } else if self.missing.remove(&sequence) {
            self.tally.reordered += 1;
        } else {
            self.tally.repeated += 1;
        }
        // What the receiver was waiting for: until something was due, there was nothing to come.
        let length = now.saturating_sub(self.last_arrival.max(stamp.due));
        if length >= SHORTEST_STALL {
            self.stalls.push(Stall { until: now, length });
        }
        self.last_arrival = now;
    }

    /// A message arrived that is not what was sent.
    pub fn arrived_damaged(&mut self) {
        self.tally.received += 1;
        self.tally.damaged += 1;
    }

    /// The verdict, after the publisher has said how many it sent and everything had time to come.
    #[must_use]
    pub fn tally(&self, sent: u64) -> Tally {
        Tally {
            lost: self.missing.len() as u64 + sent.saturating_sub(self.next),
            ..self.tally
        }
    }

    /// The longest stall that lies in a window, at least in part.
    #[must_use]
    pub fn longest_stall(&self, from: Duration, until: Duration) -> Duration {
        self.stalls
            .iter()
            .filter(|stall| stall.until >= from && stall.until - stall.length <= until)
            .map(|stall| stall.length)
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn after(sequences: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for &sequence in sequences {
            let stamp = Stamp {
                publisher: 0,
                sequence,
                due: Duration::ZERO,
            };
            ledger.arrived(stamp, Duration::ZERO);
        }
        ledger
    }

    #[test]
    fn each_kind_of_error_is_counted_as_what_it_is() {
        let tally = |lost, repeated, reordered| (lost, repeated, reordered);
        let cases = [
            (&[0, 1, 2, 3][..], 4, tally(0, 0, 0)),
            (&[0, 1, 3], 4, tally(1, 0, 0)),
            (&[0, 1], 4, tally(2, 0, 0)),
            (&[], 4, tally(4, 0, 0)),
            (&[0, 1, 1, 2, 3], 4, tally(0, 1, 0)),
            (&[0, 2, 1, 3], 4, tally(0, 0, 1)),
            (&[0, 3, 1, 2], 4, tally(0, 0, 2)),
            (&[0, 2, 1, 1], 4, tally(1, 1, 1)),
        ];
        for (sequences, sent, expected) in cases {
            let found = after(sequences).tally(sent);
            assert_eq!(found.received, sequences.len() as u64);
            assert_eq!(
                (found.lost, found.repeated, found.reordered),
                expected,
                "{sequences:?}"
            );
        }
    }

    #[test]
    fn damage_is_wrong_and_its_number_is_lost() {
        let mut ledger = after(&[0, 2]);
        ledger.arrived_damaged();
        let tally = ledger.tally(3);
        assert_eq!((tally.damaged, tally.lost, tally.wrong()), (1, 1, 2));
    }

    #[test]
    fn a_stall_begins_when_something_is_due_and_has_a_place_in_time() {
        let mut ledger = Ledger::default();
        let mut arrive = |sequence, due, now| {
            let stamp = Stamp {
                publisher: 0,
                sequence,
                due,
            };
            ledger.arrived(stamp, now);
        };
        arrive(0, at(10), at(10));
        // Nothing was due in between: the publisher rested.
        arrive(1, at(500), at(500));
        // Due at 501 and 502, both here at 530: one stall of 29.
        arrive(2, at(501), at(530));
        arrive(3, at(502), at(530));
        assert_eq!(ledger.longest_stall(at(0), at(1000)), at(29));
        assert_eq!(ledger.longest_stall(at(520), at(525)), at(29), "across");
        assert_eq!(ledger.longest_stall(at(0), at(500)), at(0), "before");
        assert_eq!(ledger.longest_stall(at(531), at(999)), at(0), "after");
    }
}
