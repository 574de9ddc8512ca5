//! As much as is taken, one way: how many messages a second get through. The same bytes go out again and again, so that
//! the generator has next to nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::client::{Listening, joined};
use super::line::Line;
use super::payload::blank;
use super::{Client, Endpoint, Hello};

/// Bytes of one write.
const BATCH: usize = 64 * 1024;
/// Bytes that may be on their way to a subscriber: a server cuts one off that falls far behind.
const WINDOW: usize = 8 * 1024 * 1024;
const WARM_UP: Duration = Duration::from_millis(100);
/// Between two looks at what arrived.
const TICK: Duration = Duration::from_micros(200);

/// What to send, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// Bytes of payload.
    pub size: usize,
    /// After warming up.
    pub time: Duration,
}

/// What got through.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// How many messages.
    pub messages: u64,
    /// In which time.
    pub took: Duration,
}

impl Flow {
    /// Messages a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "some millions of messages")]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }
}

impl Flood {
    /// From a client to its server, to a subject that nobody listens to. It counts once the server has answered a PING
    /// that came behind it. `mark` is called at the beginning and at the end of what counts.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn up(&self, endpoint: &Endpoint, mut mark: impl FnMut() -> Result<()>) -> Result<Flow> {
        let mut client = Client::connect(endpoint, &Hello::named("flood"))?;
        let line = client.line();
        let batch = Batch::of("flood.up", self.size);
        let mut send_for = |time: Duration| -> Result<Flow> {
            let began = Instant::now();
            let mut messages = 0;
            while began.elapsed() < time {
                line.send(&batch.bytes)?;
                messages += batch.messages;
            }
            client.flush()?;
            let took = began.elapsed();
            Ok(Flow { messages, took })
        };
        send_for(WARM_UP)?;
        mark()?;
        let flow = send_for(self.time)?;
        mark()?;
        Ok(flow)
    }

    /// From the server to a client that subscribed through `endpoint`; a publisher at `feed` keeps the server busy.
    ///
    /// # Errors
    /// When a connection ends.
    pub fn down(
        &self,
        endpoint: &Endpoint,
        feed: &Endpoint,
        mark: impl FnMut() -> Result<()>,
    ) -> Result<Flow> {
        const SUBJECT: &str = "flood.down";
        let arrived = Arc::new(AtomicU64::new(0));
        let ear = self.listen(endpoint, SUBJECT, &arrived)?;
        let feed = Client::connect(feed, &Hello::named("flood-feed"))?.listen(|_| {})?;
        let stop = Arc::new(AtomicBool::new(false));
        let feeder = thread::Builder::new()
            .name("flood-feed".to_owned())
            .spawn({
                let (line, batch) = (feed.line(), Batch::of(SUBJECT, self.size));
                let (arrived, stop) = (Arc::clone(&arrived), Arc::clone(&stop));
                move || batch.keep_on_its_way(&line, &arrived, &stop)
            })?;
        let flow = self.watch(&ear, &arrived, mark);
        stop.store(true, Ordering::Relaxed);
        joined(feeder)?;
        ear.close()?;
        feed.close()?;
        flow
    }

    /// As [`Self::down`], from a sender that needs no feeding once it was subscribed to.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn down_from_source(
        &self,
        endpoint: &Endpoint,
        mark: impl FnMut() -> Result<()>,
    ) -> Result<Flow> {
        let arrived = Arc::new(AtomicU64::new(0));
        let ear = self.listen(endpoint, "flood.down", &arrived)?;
        let flow = self.watch(&ear, &arrived, mark)?;
        ear.close()?;
        Ok(flow)
    }

    fn listen(
        &self,
        endpoint: &Endpoint,
        subject: &str,
        arrived: &Arc<AtomicU64>,
    ) -> Result<Listening> {
        let mut client = Client::connect(endpoint, &Hello::named("flood"))?;
        client.subscribe(subject, 1)?;
        client.flush()?;
        let arrived = Arc::clone(arrived);
        let mut count = 0;
        client.listen(move |_| {
            count += 1;
            arrived.store(count, Ordering::Relaxed);
        })
    }

    fn watch(
        &self,
        ear: &Listening,
        arrived: &AtomicU64,
        mut mark: impl FnMut() -> Result<()>,
    ) -> Result<Flow> {
        thread::sleep(WARM_UP);
        mark()?;
        let (began, before) = (Instant::now(), arrived.load(Ordering::Relaxed));
        thread::sleep(self.time);
        let (took, after) = (began.elapsed(), arrived.load(Ordering::Relaxed));
        mark()?;
        ensure!(ear.is_alive(), "the subscriber's connection ended");
        Ok(Flow {
            messages: after - before,
            took,
        })
    }
}

/// Messages for one write.
pub(super) struct Batch {
    bytes: Vec<u8>,
    messages: u64,
}

impl Batch {
    fn of(subject: &str, size: usize) -> Self {
        Self::repeat(&format!("PUB {subject} {size}\r\n"), size)
    }

    /// That control line and a payload of `size` bytes, as often as fits.
    pub(super) fn repeat(control_line: &str, size: usize) -> Self {
        let frame = [control_line.as_bytes(), &blank(size), b"\r\n"].concat();
        let messages = (BATCH / frame.len()).max(1);
        Self {
            bytes: frame.repeat(messages),
            messages: messages as u64,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn keep_on_its_way(self, line: &Line, arrived: &AtomicU64, stop: &AtomicBool) -> Result<()> {
        let window = self.messages * (WINDOW / self.bytes.len()) as u64;
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            if sent >= arrived.load(Ordering::Relaxed) + window {
                thread::sleep(TICK);
                continue;
            }
            line.send(&self.bytes)?;
            sent += self.messages;
        }
        Ok(())
    }
}
