//! What async-nats calls back: its events, its reconnect passes and its question how long to wait.
//! Bounded channels; what does not fit is dropped, because the driver also looks for itself. What
//! must not be lost is counted inside the callback.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Statistics};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::nats::passes::{Moment, Pass, Passes};
use crate::nats::totals::FailedAttempts;
use crate::tls::SerialConfig;

const EVENT_CAPACITY: usize = 256;
const PASS_CAPACITY: usize = 16;

/// The receiving ends.
pub(crate) struct Wires {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) passes: mpsc::Receiver<Pass>,
    /// Set while a reconnect is ours: its first attempt is made at once.
    pub(crate) moving: Arc<AtomicBool>,
    /// Set when the end was asked for: a client that is down then never dials again. It would
    /// for ever, because async-nats looks at its handles only while it is connected.
    pub(crate) over: Arc<AtomicBool>,
    failed: Arc<Mutex<FailedAttempts>>,
    statistics: Arc<OnceLock<Arc<Statistics>>>,
}

impl Wires {
    /// Failed attempts are counted there from now on: by whom the client connects through.
    #[cfg(feature = "relay")]
    pub(crate) fn count_with(&mut self, failed: Arc<Mutex<FailedAttempts>>) {
        self.failed = failed;
    }

    /// The client that calls back: only now there is one.
    pub(crate) fn handle_client(&self, client: &Client) {
        // Called once.
        self.statistics.set(client.statistics()).ok();
    }

    /// The attempts of this client that failed so far.
    pub(crate) fn failed_attempts(&self) -> FailedAttempts {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets `options`, which handshake with `serial`, call back into new wires.
pub(crate) fn attach(
    options: ConnectOptions,
    backoff: Backoff,
    serial: &SerialConfig,
) -> (ConnectOptions, Wires) {
    let failed = Arc::default();
    let statistics = Arc::default();
    let count = PassCounter {
        passes: Mutex::default(),
        failed: Arc::clone(&failed),
        serial: serial.clone(),
        statistics: Arc::clone(&statistics),
    };
    let (pass_sender, passes) = mpsc::channel(PASS_CAPACITY);
    let see = move |servers: &[async_nats::Server]| {
        pass_sender.try_send(count.handle_servers(servers)).ok();
    };
    let (options, wires) = call_back(options, backoff, Arc::default(), see);
    let wires = Wires {
        passes,
        failed,
        statistics,
        ..wires
    };
    (options, wires)
}

/// The same for a client of a relay of this process, until `over`: only the relay knows how its
/// passes over the servers end.
#[cfg(feature = "relay")]
pub(crate) fn attach_to_relay(
    options: ConnectOptions,
    backoff: Backoff,
    over: Arc<AtomicBool>,
) -> (ConnectOptions, Wires) {
    call_back(options, backoff, over, |_| ())
}

fn call_back(
    options: ConnectOptions,
    backoff: Backoff,
    over: Arc<AtomicBool>,
    see: impl Fn(&[async_nats::Server]) + Send + Sync + 'static,
) -> (ConnectOptions, Wires) {
    let (event_sender, events) = mpsc::channel(EVENT_CAPACITY);
    let (_, passes) = mpsc::channel(1);
    let moving = Arc::new(AtomicBool::new(false));
    let ours = Arc::clone(&moving);
    let is_over = Arc::clone(&over);
    let options = options
        .event_callback(move |event| {
            event_sender.try_send(event).ok();
            std::future::ready(())
        })
        .reconnect_to_server_callback(move |servers, _info| {
            see(&servers);
            let is_over = is_over.load(Ordering::Relaxed);
            async move {
                if is_over {
                    std::future::pending::<()>().await;
                }
                // The client goes on choosing by itself.
                None
            }
        })
        .reconnect_delay_callback(move |attempt| {
            delay(&backoff, attempt, ours.load(Ordering::Relaxed))
        });
    (
        options,
        Wires {
            events,
            passes,
            moving,
            over,
            failed: Arc::default(),
            statistics: Arc::default(),
        },
    )
}

struct PassCounter {
    passes: Mutex<Passes>,
    failed: Arc<Mutex<FailedAttempts>>,
    serial: SerialConfig,
    statistics: Arc<OnceLock<Arc<Statistics>>>,
}

impl PassCounter {
    fn handle_servers(&self, servers: &[async_nats::Server]) -> Pass {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        let connects = self.statistics.get();
        let moment = Moment {
            connects: connects.map_or(0, |client| client.connects.load(Ordering::SeqCst)),
            published: self.serial.published(),
            presented: self.serial.last_handshake().map(|last| last.generation),
        };
        let pass = passes.handle_servers(servers, moment);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, failure) in &pass.failures {
            failed.count(failure.kind);
        }
        pass
    }
}

/// A move of ours reconnects at once; after an outage even the first attempt is jittered, because
/// every client of that server is about to do the same.
fn delay(backoff: &Backoff, attempt: usize, ours: bool) -> Duration {
    match u32::try_from(attempt).unwrap_or(u32::MAX) {
        0 | 1 if ours => Duration::ZERO,
        0 | 1 => backoff.wait(1).mul_f64(fastrand::f64()),
        later => backoff.wait(later - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_immediate_and_everything_else_is_spread() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        assert_eq!(delay(&backoff, 1, true), Duration::ZERO);
        assert!(delay(&backoff, 2, true) >= Duration::from_millis(50));
        let first: std::collections::HashSet<_> =
            (0..32).map(|_| delay(&backoff, 1, false)).collect();
        assert!(first.len() > 16 && first.iter().all(|wait| *wait <= Duration::from_millis(100)));
    }
}
