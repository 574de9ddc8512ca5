//! The same conversation with async-nats in place of the session: what a library that breaks
//! before it makes loses and holds up, for comparison and so that the ledgers can be seen to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use super::conversation::{Topic, Verdict, settle};
use super::inbox::{Book, Inbox};
use super::payload::{Stamp, blank};
use super::publisher::{Plan, Publisher};
use super::{Clock, Endpoint, Hello, Pace};

const TICK: Duration = Duration::from_millis(1);

/// Both directions at work.
#[derive(Debug)]
pub struct LibraryConversation {
    peer: Inbox,
    book: Book,
    down: Publisher,
    stop: Arc<AtomicBool>,
    up: JoinHandle<Result<u64>>,
    receiving: JoinHandle<()>,
}

impl LibraryConversation {
    /// Subscribes with `client`, connects the peer, and starts to talk.
    ///
    /// # Errors
    /// When the peer is not let in or the client is closed.
    pub async fn start(
        client: async_nats::Client,
        peer: &Endpoint,
        topic: &Topic,
        clock: Clock,
    ) -> Result<Self> {
        let Topic { name, rate, size } = topic;
        let (up, down) = topic.subjects();
        let book = Book::new(1, *size, clock);
        let mut messages = client.subscribe(down.clone()).await?;
        // With a message of its own: `flush` only waits for the socket.
        client.publish(down.clone(), "first".into()).await?;
        messages.next().await.context("closed")?;
        let receiving = tokio::spawn({
            let book = book.clone();
            async move {
                while let Some(message) = messages.next().await {
                    book.enter(&message.payload);
                }
            }
        });
        let peer_book = Book::new(0, *size, clock);
        let hello = Hello::named(&format!("{name}-peer"));
        let peer = Inbox::open(peer, &hello, &up, peer_book)?;
        let plan = Plan {
            subject: down,
            publisher: 1,
            size: *size,
            pace: Pace::Rate(*rate),
        };
        let down = Publisher::start(peer.line(), plan, clock)?;
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Pace::Rate(*rate);
        let run = publish(client, up, *size, pace, clock, Arc::clone(&stop));
        Ok(Self {
            peer,
            book,
            down,
            stop,
            up: tokio::spawn(run),
            receiving,
        })
    }

    /// Stops talking, waits for the last messages, and settles the ledgers.
    ///
    /// # Errors
    /// When the peer's connection had ended, or the client was closed.
    pub async fn finish(self) -> Result<Verdict> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = [self.up.await??, self.down.stop()?];
        let verdict = settle([self.peer.book().clone(), self.book], sent).await;
        self.receiving.abort();
        self.peer.close().context("the peer")?;
        Ok(verdict)
    }
}

async fn publish(
    client: async_nats::Client,
    subject: String,
    size: usize,
    pace: Pace,
    clock: Clock,
    stop: Arc<AtomicBool>,
) -> Result<u64> {
    let subject = async_nats::Subject::from(subject);
    let began = clock.now();
    let mut payload = blank(size);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = pace.due(clock.now() - began);
        while sent < due {
            let stamp = Stamp {
                publisher: 0,
                sequence: sent,
                due: pace.due_at(sent).map_or(began, |due| began + due),
            };
            stamp.write(&mut payload);
            let bytes = bytes::Bytes::copy_from_slice(&payload);
            client.publish(subject.clone(), bytes).await?;
            sent += 1;
        }
        tokio::time::sleep(TICK).await;
    }
    Ok(sent)
}
