//! What the client got, compared with what a single connection would have given it.

use super::{Numbered, World};

impl World {
    /// As [`World::assert_exact`], but a queue message may have gone down with the connection that had it.
    pub(in crate::relay::session::tests) fn assert_own_and_plain_exact(&mut self, seed: u64) {
        self.expected.retain(|_, expected| !expected.queue);
        self.assert_exact(seed);
    }

    pub(in crate::relay::session::tests) fn assert_nothing_repeated(&self, seed: u64) {
        for (sid, received) in &self.ledger.received {
            let mut once = received.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(
                once.len(),
                received.len(),
                "seed {seed}, {sid}: {received:?}"
            );
        }
        let mut arrived = self.arrived.clone();
        arrived.dedup();
        assert!(
            arrived.is_sorted() && arrived.len() == self.arrived.len(),
            "seed {seed}: {arrived:?}"
        );
    }

    /// Compares what the client got with what a single connection would have given it.
    pub(in crate::relay::session::tests) fn assert_exact(&self, seed: u64) {
        for (sid, expected) in &self.expected {
            let nothing = Vec::new();
            let received = self.ledger.received.get(sid).unwrap_or(&nothing);
            let since = expected.since.expect("the server knows every subscription");
            let until = expected.until.unwrap_or(self.routed.len());
            let is_meant = |message: &&Numbered| {
                message.0 == expected.subject && (self.options.echo || message.0 != "own")
            };
            let mut wanted: Vec<_> = self.routed[since..]
                .iter()
                .filter(is_meant)
                .cloned()
                .collect();
            let surely = self.routed[since..until.max(since)]
                .iter()
                .filter(is_meant)
                .count();
            if let Some(limit) = expected.limit {
                wanted.truncate(limit);
            }
            let mut received = received.clone();
            if expected.queue {
                // Between the members of a group there is no order.
                received.sort_unstable_by_key(|(_, number)| *number);
            }
            let surely = surely.min(expected.limit.unwrap_or(usize::MAX));
            assert!(
                received.len() >= surely,
                "seed {seed}, {sid}: {received:?} of {wanted:?}, {surely}"
            );
            assert_eq!(
                received,
                wanted[..received.len().min(wanted.len())],
                "seed {seed}, {sid}"
            );
        }
        assert_eq!(
            self.arrived,
            (0..self.ledger.published).collect::<Vec<_>>(),
            "seed {seed}"
        );
        assert_eq!(self.ledger.pongs, self.ledger.pings, "seed {seed}");
        if self.options.verbose {
            assert_eq!(
                self.ledger.acknowledgements, self.ledger.acknowledgeable,
                "seed {seed}"
            );
        } else {
            assert_eq!(self.ledger.acknowledgements, 0, "seed {seed}");
        }
    }
}
