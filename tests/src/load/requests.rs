//! Requests by a schedule, and the round trip of each from the moment it was *due*: a request
//! that had to wait for the one before counts with its wait (no coordinated omission).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::payload::{Stamp, blank};
use super::{Client, Clock, Endpoint, Hello};
use crate::bench::Sample;

/// Requests to be made.
#[derive(Debug, Clone)]
pub struct Requests {
    /// A second.
    pub rate: f64,
    /// How many in all, after a tenth of that to warm up.
    pub count: u32,
    /// Bytes of payload, of the answer too.
    pub size: usize,
}

/// Answers each request with its own payload, until dropped.
#[derive(Debug)]
pub struct Responder {
    _listening: super::client::Listening,
}

impl Responder {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn open(endpoint: &Endpoint, subject: &str) -> Result<Self> {
        let mut client = Client::connect(endpoint, &Hello::named("responder"))?;
        client.subscribe(subject, 1)?;
        client.flush()?;
        let line = client.line();
        let mut answer = Vec::new();
        let listening = client.listen(move |message| {
            let Some(reply) = message.reply else { return };
            answer.clear();
            answer.extend_from_slice(b"PUB ");
            answer.extend_from_slice(reply);
            answer.extend_from_slice(format!(" {}\r\n", message.payload.len()).as_bytes());
            answer.extend_from_slice(message.payload);
            answer.extend_from_slice(b"\r\n");
            // A line that has gone is noticed by the requester, who gets no answers.
            let _ = line.send(&answer);
        })?;
        Ok(Self {
            _listening: listening,
        })
    }
}

impl Requests {
    /// Makes them all and waits for the answers: round trips in microseconds.
    ///
    /// # Errors
    /// When an answer does not come.
    pub fn run(&self, endpoint: &Endpoint, subject: &str) -> Result<Sample> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let clock = Clock::start();
        let mut client = Client::connect(endpoint, &Hello::named("requester"))?;
        client.subscribe("_INBOX.load", 1)?;
        client.flush()?;
        let line = client.line();
        let (answered, trips) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let warm_up = u64::from(self.count / 10);
        let all = u64::from(self.count) + warm_up;
        let listening = client.listen({
            let (answered, trips) = (Arc::clone(&answered), Arc::clone(&trips));
            move |message| {
                let now = clock.now();
                if let Some(stamp) = Stamp::read(message.payload)
                    && stamp.sequence >= warm_up
                {
                    let mut trips = trips.lock().unwrap_or_else(PoisonError::into_inner);
                    trips.push((now - stamp.due).as_secs_f64() * 1e6);
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        let mut request = format!("PUB {subject} _INBOX.load {}\r\n", self.size).into_bytes();
        let start = request.len();
        request.extend(blank(self.size));
        request.extend(b"\r\n");
        let began = clock.now();
        for sequence in 0..all {
            #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
            let due = began + Duration::from_secs_f64(sequence as f64 / self.rate);
            thread::sleep(due.saturating_sub(clock.now()));
            let stamp = Stamp {
                publisher: 0,
                sequence,
                due,
            };
            stamp.write(&mut request[start..start + self.size]);
            line.send(&request)?;
        }
        let last = clock.now();
        while answered.load(Ordering::Relaxed) < all {
            ensure!(listening.is_alive(), "the connection ended");
            ensure!(
                clock.now() < last + PATIENCE,
                "{} of {all} answers",
                answered.load(Ordering::Relaxed)
            );
            thread::sleep(Duration::from_millis(1));
        }
        listening.close()?;
        let trips = std::mem::take(&mut *trips.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Sample::new(trips))
    }
}
