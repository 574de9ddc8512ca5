//! A client that keeps the ledger of what one publisher sends it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::client::Listening;
use super::payload::Stamp;
use super::{Client, Clock, Endpoint, Hello, Ledger, Line};

/// A ledger that a receiver fills while others look.
#[derive(Debug, Clone)]
pub struct Book {
    ledger: Arc<Mutex<Ledger>>,
    received: Arc<AtomicU64>,
    was_greeted: Arc<AtomicBool>,
    publisher: u32,
    size: usize,
    clock: Clock,
}

impl Book {
    /// For messages of `publisher` with `size` bytes of payload.
    #[must_use]
    pub fn new(publisher: u32, size: usize, clock: Clock) -> Self {
        Self {
            ledger: Arc::default(),
            received: Arc::default(),
            was_greeted: Arc::default(),
            publisher,
            size,
            clock,
        }
    }

    /// Enters a message that arrived now.
    pub fn enter(&self, payload: &[u8]) {
        let now = self.clock.now();
        let stamp =
            Stamp::read_whole(payload, self.size).filter(|stamp| stamp.publisher == self.publisher);
        self.read(|ledger| match stamp {
            Some(stamp) => ledger.arrived(stamp, now),
            None => ledger.arrived_damaged(),
        });
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a message without a payload has arrived: it is in no ledger.
    #[must_use]
    pub fn was_greeted(&self) -> bool {
        self.was_greeted.load(Ordering::Relaxed)
    }

    /// How many arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Looks at the ledger.
    pub fn read<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The client and its ledger.
#[derive(Debug)]
pub struct Inbox {
    listening: Listening,
    book: Book,
}

impl Inbox {
    /// Connects, subscribes, and listens once the server knows of it.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn open(endpoint: &Endpoint, hello: &Hello, subject: &str, book: Book) -> Result<Self> {
        let mut client = Client::connect(endpoint, hello)?;
        client.subscribe(subject, 1)?;
        client.flush()?;
        let listener = book.clone();
        Ok(Self {
            listening: client.listen(move |message| match message.payload {
                [] => listener.was_greeted.store(true, Ordering::Relaxed),
                payload => listener.enter(payload),
            })?,
            book,
        })
    }

    /// For a publisher on the same connection.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        self.listening.line()
    }

    /// What arrived.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Whether the connection is the one it was opened with.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.listening.is_alive()
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// When it had ended before: the reason.
    pub fn close(self) -> Result<()> {
        self.listening.close()
    }
}
