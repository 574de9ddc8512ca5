//! What happened to the sessions of a manager's relays, as sums: a board that they write and others
//! read.
//!
//! Owns closed sets of names and counters that only grow. Must not emit metrics or JSON.

mod names;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock;

pub use names::{HandoverReason, SessionResult};

/// The sums of all relays of one manager, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayReport {
    /// Where clients of other processes connect; none once it ended, and if there never were any
    /// but those of [`ConnectSettings::handover`](crate::ConnectSettings::handover).
    pub listen: Option<SocketAddr>,
    /// Clients now, those that are not let in yet included.
    pub sessions: u64,
    /// Of these, how many are not on the active generation yet.
    pub behind: u64,
    /// What became of every client that ever came.
    pub results: [u64; SessionResult::ALL.len()],
    /// Handovers that kept the client and lost nothing.
    pub handovers_ok: u64,
    /// Handovers that were given up, by reason: the old connection was kept.
    pub handovers_failed: [u64; HandoverReason::ALL.len()],
    /// Clients that were told to reconnect instead, by reason.
    pub handovers_fallback: [u64; HandoverReason::ALL.len()],
    /// Messages that came on the old connection and never on the new one, although they should
    /// have; any number but 0 is worth a bug report.
    pub unmatched: u64,
    /// From clients to servers.
    pub upstream: Traffic,
    /// From servers to clients.
    pub downstream: Traffic,
}

impl RelayReport {
    /// How many clients came to this.
    #[must_use]
    pub fn results_of(&self, result: SessionResult) -> u64 {
        at(&self.results, result as usize)
    }

    /// How many handovers were given up for this.
    #[must_use]
    pub fn failed_for(&self, reason: HandoverReason) -> u64 {
        at(&self.handovers_failed, reason as usize)
    }

    /// How many clients were told to reconnect for this.
    #[must_use]
    pub fn fallback_for(&self, reason: HandoverReason) -> u64 {
        at(&self.handovers_fallback, reason as usize)
    }
}

fn at<const N: usize>(counts: &[u64; N], position: usize) -> u64 {
    counts.get(position).copied().unwrap_or_default()
}

/// What went in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Protocol and payload, without TLS.
    pub bytes: u64,
    /// Whole messages.
    pub messages: u64,
}

/// The last thing that went wrong with a session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelayFailure {
    pub(crate) detail: String,
    pub(crate) at: SystemTime,
}

/// What relays write. One per manager, so that sums survive a relay.
#[derive(Default)]
pub(crate) struct Board {
    listen: Mutex<Listen>,
    sessions: AtomicU64,
    behind: AtomicU64,
    results: [AtomicU64; SessionResult::ALL.len()],
    handovers_ok: AtomicU64,
    handovers_failed: [AtomicU64; HandoverReason::ALL.len()],
    handovers_fallback: [AtomicU64; HandoverReason::ALL.len()],
    unmatched: AtomicU64,
    upstream: Counted,
    downstream: Counted,
    last_failure: Mutex<Option<RelayFailure>>,
    stalls: Mutex<VecDeque<Duration>>,
}

#[derive(Default)]
struct Listen {
    was_started: bool,
    address: Option<SocketAddr>,
}

#[derive(Default)]
struct Counted {
    bytes: AtomicU64,
    messages: AtomicU64,
}

impl Counted {
    fn add(&self, traffic: Traffic) {
        self.bytes.fetch_add(traffic.bytes, Relaxed);
        self.messages.fetch_add(traffic.messages, Relaxed);
    }

    fn read(&self) -> Traffic {
        Traffic {
            bytes: self.bytes.load(Relaxed),
            messages: self.messages.load(Relaxed),
        }
    }
}

/// Stalls that nobody took until there were so many are forgotten, the oldest first.
const STALLS: usize = 4096;

impl Board {
    /// The sums; none before the first relay.
    pub(crate) fn report(&self) -> Option<RelayReport> {
        let listen = locked(&self.listen);
        listen.was_started.then(|| self.report_of(listen.address))
    }

    /// The sums, as those of the relay that listens there.
    pub(crate) fn report_of(&self, listen: Option<SocketAddr>) -> RelayReport {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        RelayReport {
            listen,
            sessions: read(&self.sessions),
            behind: read(&self.behind),
            results: self.results.each_ref().map(read),
            handovers_ok: read(&self.handovers_ok),
            handovers_failed: self.handovers_failed.each_ref().map(read),
            handovers_fallback: self.handovers_fallback.each_ref().map(read),
            unmatched: read(&self.unmatched),
            upstream: self.upstream.read(),
            downstream: self.downstream.read(),
        }
    }

    pub(crate) fn last_failure(&self) -> Option<RelayFailure> {
        locked(&self.last_failure).clone()
    }

    /// Takes how long clients stood still in the handovers since the last call.
    pub(crate) fn take_stalls(&self) -> VecDeque<Duration> {
        std::mem::take(&mut *locked(&self.stalls))
    }

    /// There is a relay, though not for other processes.
    pub(super) fn begins(&self) {
        locked(&self.listen).was_started = true;
    }

    pub(super) fn listens(&self, address: SocketAddr) {
        let mut listen = locked(&self.listen);
        listen.was_started = true;
        listen.address = Some(address);
    }

    pub(super) fn listens_no_more(&self, address: SocketAddr) {
        let mut listen = locked(&self.listen);
        if listen.address == Some(address) {
            listen.address = None;
        }
    }

    /// Counts a client, until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Presence {
        self.sessions.fetch_add(1, Relaxed);
        Presence(Arc::clone(self))
    }

    /// Counts a session as behind the active generation, until the guard is dropped.
    pub(super) fn fall_behind(self: &Arc<Self>) -> Behind {
        self.behind.fetch_add(1, Relaxed);
        Behind(Arc::clone(self))
    }

    /// What became of a client: once for each.
    pub(super) fn count_session(&self, result: SessionResult) {
        count(&self.results, result as usize);
    }

    /// The client stood still for so long.
    pub(crate) fn handover_succeeded(&self, stall: Duration) {
        self.handovers_ok.fetch_add(1, Relaxed);
        let mut stalls = locked(&self.stalls);
        if stalls.len() == STALLS {
            stalls.pop_front();
        }
        stalls.push_back(stall);
    }

    /// Copies that were expected of a new connection did not come.
    pub(crate) fn copies_missing(&self, frames: u64) {
        self.unmatched.fetch_add(frames, Relaxed);
    }

    /// The old connection was kept.
    pub(crate) fn handover_failed(&self, reason: HandoverReason, detail: impl Into<String>) {
        count(&self.handovers_failed, reason as usize);
        self.failed(detail);
    }

    /// The client was told to reconnect.
    pub(crate) fn handover_fell_back(&self, reason: HandoverReason, detail: impl Into<String>) {
        count(&self.handovers_fallback, reason as usize);
        self.failed(detail);
    }

    /// For people. Must hold no secret.
    pub(crate) fn failed(&self, detail: impl Into<String>) {
        *locked(&self.last_failure) = Some(RelayFailure {
            detail: detail.into(),
            at: clock::now(),
        });
    }
}

fn count<const N: usize>(counters: &[AtomicU64; N], position: usize) {
    if let Some(counter) = counters.get(position) {
        counter.fetch_add(1, Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client that is there.
pub(crate) struct Presence(Arc<Board>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Relaxed);
    }
}

/// One session that is not on the active generation.
pub(crate) struct Behind(Arc<Board>);

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.behind.fetch_sub(1, Relaxed);
    }
}

/// Counts the traffic of one session without touching what sessions share, until it is flushed:
/// by the session now and then, and by dropping it.
pub(crate) struct Meter {
    board: Arc<Board>,
    upstream: Traffic,
    downstream: Traffic,
}

impl Meter {
    pub(super) fn new(board: &Arc<Board>) -> Self {
        Self {
            board: Arc::clone(board),
            upstream: Traffic::default(),
            downstream: Traffic::default(),
        }
    }

    /// What goes from the client to the server.
    pub(crate) fn upstream(&mut self) -> &mut Traffic {
        &mut self.upstream
    }

    /// What goes from the server to the client.
    pub(crate) fn downstream(&mut self) -> &mut Traffic {
        &mut self.downstream
    }

    pub(crate) fn flush(&mut self) {
        self.board.upstream.add(std::mem::take(&mut self.upstream));
        self.board
            .downstream
            .add(std::mem::take(&mut self.downstream));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_outlive_what_they_were_counted_for() {
        let board = Arc::new(Board::default());
        assert_eq!(board.report(), None);
        let address = "127.0.0.1:4222".parse().unwrap();
        board.listens(address);
        let (presence, behind) = (board.enter(), board.fall_behind());
        let mut meter = Meter::new(&board);
        meter.upstream().bytes += 5;
        meter.downstream().messages += 2;
        board.count_session(SessionResult::Accepted);
        board.handover_succeeded(Duration::from_millis(1));
        board.copies_missing(2);
        board.handover_failed(HandoverReason::Timeout, "step 4");
        let report = board.report().unwrap();
        assert_eq!((report.sessions, report.behind), (1, 1));
        assert_eq!(report.upstream.bytes, 0, "not flushed yet");

        drop((presence, behind, meter));
        board.listens_no_more(address);
        let report = board.report().unwrap();
        assert_eq!(report.listen, None);
        assert_eq!((report.sessions, report.behind), (0, 0));
        assert_eq!((report.upstream.bytes, report.downstream.messages), (5, 2));
        assert_eq!(report.results_of(SessionResult::Accepted), 1);
        assert_eq!((report.handovers_ok, report.unmatched), (1, 2));
        assert_eq!(report.failed_for(HandoverReason::Timeout), 1);
        assert_eq!(report.fallback_for(HandoverReason::Timeout), 0);
        assert_eq!(board.last_failure().unwrap().detail, "step 4");
        assert_eq!(board.take_stalls(), [Duration::from_millis(1)]);
        assert!(board.take_stalls().is_empty());
    }

    #[test]
    fn the_newest_stalls_stay_if_nobody_reads() {
        let board = Board::default();
        for number in 0..STALLS + 3 {
            board.handover_succeeded(Duration::from_nanos(number.try_into().unwrap()));
        }
        let stalls = board.take_stalls();
        assert_eq!(stalls.len(), STALLS);
        assert_eq!(stalls.front(), Some(&Duration::from_nanos(3)));
    }
}
