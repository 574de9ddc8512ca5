//! Moves bytes between the sides of one session and lets the session judge them. Knows when to read, when to wait for a
//! slow side, and whether the server is still there; what to do about it is decided elsewhere.

mod clock;
mod flow;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::port::{Port, Stream};
use clock::Silence;

use crate::relay::dial::UpstreamStream;
use crate::relay::report::Meter;
use crate::relay::session::{ClientError, Event, Link, Loss, Move, Session, UpstreamError};

/// Rounds before other sessions get their turn.
const ROUNDS: usize = 16;

/// Something the pump cannot go on without.
#[derive(Debug)]
pub(crate) enum Outcome {
    Event(Event),
    ClientLeft,
    ClientBroke(io::Error),
    ClientErred(ClientError),
    /// It takes nothing of what waits for it.
    ClientTooSlow,
    /// It left an operation half said, or nobody says anything.
    ClientStale,
    Lost(Link, String),
}

/// How long sides may be silent, and how much may wait for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A client that takes nothing of what waits for it.
    pub(crate) stall: Duration,
    /// A session in which neither side says anything.
    pub(crate) idle: Option<Duration>,
    /// A client that has said the beginning of an operation.
    pub(crate) operation: Duration,
    /// Between two questions whether the server is there.
    pub(crate) ping_interval: Duration,
    /// Bytes that may wait for each side.
    pub(crate) buffered: usize,
}

/// The sides of one session.
pub(crate) struct Pump<C = TcpStream, U = UpstreamStream> {
    session: Session,
    client: Port<C>,
    current: Option<Port<U>>,
    next: Option<Port<U>>,
    /// A connection that the session left behind.
    retired: Option<Port<U>>,
    events: VecDeque<Event>,
    /// What is told once the events before it are.
    outcome: Option<Outcome>,
    patience: Patience,
    meter: Meter,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; it may be earlier than anything is due.
    armed: Option<Instant>,
    /// Since when the client has taken nothing of what waits for it.
    client_stalls: Option<Instant>,
    silence: Silence,
    upstream_heard: Instant,
    unanswered: u32,
}

impl<C: Stream, U: Stream> Pump<C, U> {
    pub(crate) fn new(
        session: Session,
        client: Port<C>,
        upstream: Port<U>,
        patience: Patience,
        meter: Meter,
    ) -> Self {
        let now = now();
        Self {
            session,
            client,
            current: Some(upstream),
            next: None,
            retired: None,
            events: VecDeque::new(),
            outcome: None,
            patience,
            meter,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            client_stalls: None,
            silence: Silence::default(),
            upstream_heard: now,
            unanswered: 0,
        }
    }

    /// Moves bytes until something happens that the pump cannot go on without.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        // What was asked of the session since the last call.
        let now = now();
        self.settle(cx, now);
        for _ in 0..ROUNDS {
            // Before more is read: what is made of it depends on what happened so far.
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Outcome::Event(event));
            }
            if let Some(outcome) = self.outcome.take() {
                return Poll::Ready(outcome);
            }
            match self.advance(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(outcome)) => self.outcome = Some(outcome),
                Poll::Pending => {
                    self.meter.flush();
                    return Poll::Pending;
                }
            }
        }
        // Something has moved in every round, so that nobody has looked at the time.
        if self.outcome.is_none() {
            self.outcome = self.handle_time(cx, now).err();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A round, and what is due if nothing moved in it.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        let now = now();
        match self.round(cx, now) {
            Err(outcome) => Poll::Ready(Err(outcome)),
            Ok(has_moved) if has_moved || !self.events.is_empty() => Poll::Ready(Ok(())),
            Ok(_) => self.poll_time(cx, now),
        }
    }

    /// One read of each side that may be read; whether there may be more to do.
    fn round(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
        let mut has_moved = self.read_client(cx, now)?;
        has_moved |= self.read_upstream(Link::Current, cx, now)?;
        has_moved |= self.read_upstream(Link::Next, cx, now)?;
        let traffic = self.session.take_traffic();
        self.meter.upstream().messages += traffic.upstream_messages;
        self.meter.downstream().messages += traffic.downstream_messages;
        has_moved |= self.send(cx, now);
        Ok(has_moved)
    }

    /// Begins a handover; the bytes that came behind the PONG are in `upstream`.
    pub(crate) fn begin_handover(&mut self, upstream: Port<U>, move_to: Move) {
        self.next = Some(upstream);
        self.session.begin_handover(move_to, now());
    }

    /// An upstream connection is lost; what that means.
    pub(crate) fn lose(&mut self, link: Link) -> Loss {
        match link {
            Link::Current => self.current = None,
            Link::Next => self.next = None,
        }
        self.session.handle_upstream_lost(link, now())
    }

    /// Tells the client that its server is about to go; `first` is what that server began with.
    pub(crate) fn tell_to_leave(&mut self, first: &[u8]) -> Result<(), UpstreamError> {
        self.session.tell_to_leave(first)
    }

    /// Lets what is on its way come through, and nothing after it; ends with [`Event::Drained`].
    pub(crate) fn begin_farewell(&mut self) {
        self.session.begin_farewell();
    }

    /// Another connection ends the outage.
    ///
    /// # Errors
    /// If its INFO cannot be read; the outage goes on.
    pub(crate) fn restore(&mut self, upstream: Port<U>, info: &[u8]) -> Result<(), UpstreamError> {
        self.session.restore(info)?;
        self.current = Some(upstream);
        self.upstream_heard = now();
        self.unanswered = 0;
        Ok(())
    }

    /// A connection that the session left behind, to be closed.
    pub(crate) fn take_retired(&mut self) -> Option<Port<U>> {
        self.retired.take()
    }

    /// Says something to the client, if it is not in the middle of a message.
    pub(crate) fn tell(&mut self, line: &[u8]) {
        if self.session.client_is_between_frames() {
            self.client.append(line);
        }
    }

    /// The sides, to be closed.
    pub(crate) fn into_sides(mut self) -> (Port<C>, Vec<Port<U>>) {
        self.meter.flush();
        let upstream = [self.current, self.next, self.retired];
        (self.client, upstream.into_iter().flatten().collect())
    }
}

/// The clock of timers, which tests can hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
