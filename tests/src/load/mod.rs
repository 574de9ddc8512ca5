//! The load generator: raw NATS protocol on blocking sockets and threads, light enough not to be
//! what is measured. No client library, so nothing retries or buffers behind the test's back.
//!
//! | module | gives |
//! |---|---|
//! | [`payload`] | numbered, dated messages whose every byte is known |
//! | [`ops`] | what a server sends, parsed in place |
//! | [`line`](mod@line) | one connection: plain, TLS, TLS before INFO |
//! | [`client`] | a client on it: handshake, subscriptions, the reading thread |
//! | [`pace`] | a fixed rate by schedule, or as much as is taken |
//! | [`publisher`] | the writing thread |
//! | [`ledger`] | lost, repeated, reordered, damaged, and how long nothing came |
//! | [`inbox`] | a client that keeps the ledger of what it gets |
//! | [`conversation`] | one session under load in both directions, and its peer |
//! | [`library`] | the same conversation with async-nats, for comparison |
//! | [`flood`] | as much as is taken, one way: messages a second |
//! | [`sink`] | the other end of a flood when the generator itself is measured |
//! | [`requests`] | request and reply by schedule: round trips without coordinated omission |
//! | [`sessions`] | many conversations through one relay, moved again and again |
//! | [`tunnel`] | a plain TCP tunnel, with a delay if asked |
//!
//! A message carries the moment it was *due*, not the moment it was written: a generator that is
//! held up would otherwise leave out the very messages that had to wait.

pub mod client;
pub mod conversation;
pub mod flood;
pub mod inbox;
pub mod ledger;
pub mod library;
pub mod line;
pub mod ops;
pub mod pace;
pub mod payload;
pub mod publisher;
pub mod requests;
pub mod sessions;
pub mod sink;
pub mod tunnel;

use std::time::{Duration, Instant};

pub use client::{Client, Hello};
pub use conversation::{Conversation, Topic, Verdict};
pub use ledger::{Ledger, Tally};
pub use line::{Endpoint, Line};
pub use pace::Pace;

/// Where the times in the messages count from: one for all threads of a run.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
