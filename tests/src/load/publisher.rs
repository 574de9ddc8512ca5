//! The writing thread: numbered messages by a pace, many in one write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use super::Clock;
use super::client::joined;
use super::line::Line;
use super::pace::{Pace, TICK};
use super::payload::{Stamp, blank};

/// The most that goes out in one write.
const BATCH: usize = 64 * 1024;

/// What to publish.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to.
    pub subject: String,
    /// The number of the publisher, in each message.
    pub publisher: u32,
    /// Bytes of payload.
    pub size: usize,
    /// How fast.
    pub pace: Pace,
}

/// A publisher at work. Stopped on drop.
#[derive(Debug)]
pub struct Publisher {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Publisher {
    /// Starts at once. The schedule counts from here.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(line: Arc<Line>, plan: Plan, clock: Clock) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let run = Run {
            frames: Frames::new(&plan),
            plan,
            stop: Arc::clone(&stop),
            sent: Arc::clone(&sent),
        };
        let thread = thread::Builder::new()
            .name("load-publisher".to_owned())
            .spawn(move || run.run(&line, clock))?;
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// How many were written so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops and says how many were sent.
    ///
    /// # Errors
    /// When the connection had gone.
    pub fn stop(mut self) -> Result<u64> {
        self.end()
    }

    fn end(&mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(0), joined)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Whoever wanted to know asked `stop`. A write that nobody takes ends with the line.
        let _ = self.end();
    }
}

struct Run {
    frames: Frames,
    plan: Plan,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Run {
    fn run(mut self, line: &Line, clock: Clock) -> Result<u64> {
        let began = clock.now();
        let mut sent = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let now = clock.now();
            let due = self.plan.pace.due(now.saturating_sub(began));
            if sent >= due {
                thread::sleep(TICK);
                continue;
            }
            self.frames.clear();
            while sent < due && !self.frames.is_full() {
                let due = self.plan.pace.due_at(sent).map_or(now, |due| began + due);
                self.frames.push(Stamp {
                    publisher: self.plan.publisher,
                    sequence: sent,
                    due,
                });
                sent += 1;
            }
            line.send(self.frames.bytes())
                .with_context(|| format!("publishing {}", self.plan.subject))?;
            self.sent.store(sent, Ordering::Relaxed);
        }
        Ok(sent)
    }
}

/// Whole PUB operations for one write.
struct Frames {
    template: Vec<u8>,
    payload: std::ops::Range<usize>,
    bytes: Vec<u8>,
}

impl Frames {
    fn new(plan: &Plan) -> Self {
        let mut template = format!("PUB {} {}\r\n", plan.subject, plan.size).into_bytes();
        let payload = template.len()..template.len() + plan.size;
        template.extend(blank(plan.size));
        template.extend(b"\r\n");
        Self {
            bytes: Vec::with_capacity(BATCH + template.len()),
            template,
            payload,
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH
    }

    fn push(&mut self, stamp: Stamp) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&self.template);
        stamp.write(&mut self.bytes[at + self.payload.start..at + self.payload.end]);
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
