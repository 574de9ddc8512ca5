//! What the client got, compared with what a single connection would have given it.

use std::time::Instant;

use super::routes::LONGEST;
use super::{Numbered, World};

impl World {
    /// As [`World::assert_exact`], but a queue message may have gone down with the connection that had it.
    pub(in crate::relay::session::tests) fn assert_own_and_plain_exact(&mut self, seed: u64) {
        self.expected.retain(|_, expected| !expected.queue);
        self.assert_exact(seed);
    }

    /// How many more messages a subscription got than were published for it, where they cannot be told apart.
    pub(in crate::relay::session::tests) fn surplus(&self, sid: &str) -> isize {
        let expected = &self.expected[sid];
        let routed = self.routed[expected.since.unwrap()..].iter();
        let wanted = routed
            .filter(|message| message.0 == expected.subject)
            .count();
        let received = self.ledger.received.get(sid).map_or(0, Vec::len);
        received.cast_signed() - wanted.cast_signed()
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

    /// Between servers there is an order on each route only, so what came is compared as a set: everything published once
    /// the interest was known, and nothing twice.
    pub(in crate::relay::session::tests) fn assert_complete(&self, seed: u64) {
        for (sid, expected) in &self.expected {
            let nothing = Vec::new();
            let received = self.ledger.received.get(sid).unwrap_or(&nothing);
            // What was on its way when the client left may come or not.
            let until = expected.left.map_or(self.routed.len(), |left| {
                let arrived = |at: &Instant| *at + LONGEST < left;
                self.routed_at.partition_point(arrived)
            });
            let surely = expected.surely.map_or(until, |surely| surely.min(until));
            let is_heard = |subject: &str| self.options.echo || subject != "own";
            let own = received.iter().find(|message| !is_heard(&message.0));
            assert_eq!(own, None, "seed {seed}, {sid}: the client hears itself");
            for message in &self.routed[surely..until] {
                let is_meant =
                    message.0 == expected.subject && !expected.queue && is_heard(&message.0);
                assert!(
                    !is_meant || received.contains(message),
                    "seed {seed}, {sid}: {message:?} is lost"
                );
            }
        }
        self.assert_nothing_repeated(seed);
        assert_eq!(
            self.arrived.len() as u64,
            self.ledger.published,
            "seed {seed}"
        );
        assert_eq!(self.ledger.pongs, self.ledger.pings, "seed {seed}");
        assert_eq!(
            self.ledger.unanswerable, self.ledger.requests,
            "seed {seed}"
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
            // The relay may have known of the maximum before the server.
            let enough = expected.limit.and(expected.max);
            let surely = surely.min(enough.unwrap_or(usize::MAX));
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
        assert_eq!(
            self.ledger.unanswerable, self.ledger.requests,
            "seed {seed}"
        );
        let here = &self.connections[self.current];
        assert_eq!(here.answered, here.asked, "seed {seed}");
        let had = |sid: &str| self.ledger.received.get(sid).map_or(0, Vec::len);
        let is_wanted = |sid: &str| {
            self.expected.get(sid).is_none_or(|expected| {
                expected.until.is_none() && expected.limit.is_none_or(|limit| had(sid) < limit)
            })
        };
        for known in &here.subscriptions {
            let sid = &known.sid;
            assert!(is_wanted(sid), "seed {seed}: the server still has {sid}");
        }
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
