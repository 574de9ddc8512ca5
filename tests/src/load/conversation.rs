//! One session under load in both directions, and a peer that talks with it: what is lost,
//! repeated or held up is the session's doing.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::inbox::{Book, Inbox};
use super::ledger::Tally;
use super::publisher::{Plan, Publisher};
use super::{Clock, Endpoint, Hello, Pace};
use crate::wait::{PATIENCE, eventually};

/// How long the last messages may take. What has not come by then is lost.
const LAST_MESSAGES: Duration = Duration::from_secs(3);

/// Between two greetings.
const GREETING: Duration = Duration::from_millis(1);

/// A conversation to be had.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The name of the session; its peer is `<name>-peer`.
    pub name: String,
    /// Messages a second, each way.
    pub rate: f64,
    /// Bytes of payload.
    pub size: usize,
}

impl Topic {
    /// What the session publishes, and what it receives.
    pub(super) fn subjects(&self) -> (String, String) {
        let name = &self.name;
        (format!("load.{name}.up"), format!("load.{name}.down"))
    }
}

/// Both directions at work.
#[derive(Debug)]
pub struct Conversation {
    session: Inbox,
    peer: Inbox,
    up: Publisher,
    down: Publisher,
}

/// How it went.
#[derive(Debug)]
pub struct Verdict {
    /// What the session sent.
    pub up: Tally,
    /// What the session received.
    pub down: Tally,
    books: [Book; 2],
}

impl Conversation {
    /// Connects both and starts to talk: `session` through what is tested, `peer` beside it.
    ///
    /// # Errors
    /// When one is not let in.
    pub fn start(session: &Endpoint, peer: &Endpoint, topic: &Topic, clock: Clock) -> Result<Self> {
        let Topic { name, rate, size } = topic;
        let (up, down) = topic.subjects();
        let open = |endpoint, name: &str, subject: &str, publisher| {
            let book = Book::new(publisher, *size, clock);
            Inbox::open(endpoint, &Hello::named(name), subject, book)
        };
        let session = open(session, name, &down, 1)?;
        let peer = open(peer, &format!("{name}-peer"), &up, 0)?;
        greet(&session, &up, &peer)?;
        greet(&peer, &down, &session)?;
        let publish = |from: &Inbox, subject: &str, publisher| {
            let plan = Plan {
                subject: subject.to_owned(),
                publisher,
                size: *size,
                pace: Pace::Rate(*rate),
            };
            Publisher::start(from.line(), plan, clock)
        };
        Ok(Self {
            up: publish(&session, &up, 0)?,
            down: publish(&peer, &down, 1)?,
            session,
            peer,
        })
    }

    /// How many arrived so far: up, down.
    #[must_use]
    pub fn received(&self) -> (u64, u64) {
        (self.peer.book().received(), self.session.book().received())
    }

    /// Whether the session still has the TCP connection it began with.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.session.is_alive()
    }

    /// Stops talking, waits for the last messages, and settles the ledgers.
    ///
    /// # Errors
    /// When either connection had ended.
    pub async fn finish(self) -> Result<Verdict> {
        ensure!(self.session.is_alive(), "the session's connection ended");
        let books = [self.peer.book().clone(), self.session.book().clone()];
        let sent = [
            self.up.stop().context("the session, publishing")?,
            self.down.stop().context("the peer, publishing")?,
        ];
        let verdict = settle(books, sent).await;
        self.session.close().context("the session")?;
        self.peer.close().context("its peer")?;
        Ok(verdict)
    }
}

impl Verdict {
    /// The longest time, in the window and in either direction, in which a message was due and
    /// nothing came.
    #[must_use]
    pub fn longest_stall(&self, from: Duration, until: Duration) -> Duration {
        let longest = |book: &Book| book.read(|ledger| ledger.longest_stall(from, until));
        self.books.iter().map(longest).max().unwrap_or_default()
    }
}

/// Publishes until the other one hears it: a server that has confirmed a subscription has not told the others of its
/// cluster yet, and what is published there before is for nobody.
fn greet(from: &Inbox, subject: &str, to: &Inbox) -> Result<()> {
    let began = Instant::now();
    while !to.book().was_greeted() {
        ensure!(began.elapsed() < PATIENCE, "{subject} is not heard");
        from.line()
            .send(format!("PUB {subject} 0\r\n\r\n").as_bytes())?;
        thread::sleep(GREETING);
    }
    Ok(())
}

/// Waits for the last messages, then the verdict; `up` comes first.
pub(super) async fn settle(books: [Book; 2], sent: [u64; 2]) -> Verdict {
    let complete = || async {
        let mut ways = books.iter().zip(sent);
        let all = ways.all(|(book, sent)| book.received() >= sent);
        Ok(all.then_some(()))
    };
    // Not an error: the ledger says what is missing.
    let _ = eventually(LAST_MESSAGES, "the last messages", complete).await;
    let [up, down] = [0, 1].map(|way| books[way].read(|ledger| ledger.tally(sent[way])));
    Verdict { up, down, books }
}
