//! Moves bytes between the sides of one session and lets the session judge them. Knows when to read, when to wait for a
//! slow side, and whether the server is still there; what to do about it is decided elsewhere.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::port::{Port, READ};
use crate::relay::dial::UpstreamStream;
use crate::relay::report::Meter;
use crate::relay::session::{ClientError, Event, Link, Loss, Move, Session, Side, UpstreamError};

/// Rounds before other sessions get their turn.
const ROUNDS: usize = 16;
/// PINGs without an answer after which a silent server is given up.
const MOST_UNANSWERED: u32 = 2;
/// How long a client may leave an operation half said. nats-server itself calls such a client stale.
const HALF_AN_OPERATION: Duration = Duration::from_secs(60);

/// Something the pump cannot go on without.
#[derive(Debug)]
pub(super) enum Outcome {
    Event(Event),
    ClientLeft,
    ClientBroke(io::Error),
    ClientErred(ClientError),
    /// It takes nothing of what waits for it.
    ClientTooSlow,
    /// It left an operation half said, or says nothing at all.
    ClientStale,
    Lost(Link, String),
    /// Asked for with [`Pump::wait_for_rest`]: both directions are between two operations.
    AtRest,
}

/// How long sides may be silent, and how much may wait for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A client that takes nothing of what waits for it.
    pub(super) stall: Duration,
    /// A client that says nothing at all.
    pub(super) idle: Option<Duration>,
    /// Between two questions whether the server is there.
    pub(super) ping_interval: Duration,
    /// Bytes that may wait for each side.
    pub(super) buffered: usize,
}

/// A side that the session has no use for any more; to be closed.
pub(super) type Retired = Port<UpstreamStream>;

/// The sides of one session.
pub(super) struct Pump {
    session: Session,
    client: Port<TcpStream>,
    current: Option<Port<UpstreamStream>>,
    next: Option<Port<UpstreamStream>>,
    retired: Option<Retired>,
    events: VecDeque<Event>,
    patience: Patience,
    meter: Meter,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; it may be earlier than anything is due.
    armed: Option<Instant>,
    /// Since when the client has taken nothing of what waits for it.
    client_stalls: Option<Instant>,
    client_heard: Instant,
    upstream_heard: Instant,
    unanswered: u32,
    waits_for_rest: bool,
}

impl Pump {
    pub(super) fn new(
        session: Session,
        client: Port<TcpStream>,
        upstream: Port<UpstreamStream>,
        patience: Patience,
        meter: Meter,
    ) -> Self {
        let now = Instant::now();
        Self {
            session,
            client,
            current: Some(upstream),
            next: None,
            retired: None,
            events: VecDeque::new(),
            patience,
            meter,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            client_stalls: None,
            client_heard: now,
            upstream_heard: now,
            unanswered: 0,
            waits_for_rest: false,
        }
    }

    /// Moves bytes until something happens that the pump cannot go on without.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        for _ in 0..ROUNDS {
            let now = Instant::now();
            let has_moved = match self.round(cx, now) {
                Ok(has_moved) => has_moved,
                Err(outcome) => return Poll::Ready(outcome),
            };
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Outcome::Event(event));
            }
            if self.waits_for_rest && self.is_at_rest() {
                self.waits_for_rest = false;
                return Poll::Ready(Outcome::AtRest);
            }
            if has_moved {
                continue;
            }
            match self.poll_time(cx, now) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(outcome)) => return Poll::Ready(outcome),
                Poll::Pending => {
                    self.meter.flush();
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read of each side that may be read; whether there may be more to do.
    fn round(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
        let mut has_moved = self.read_client(cx, now)?;
        has_moved |= self.read_upstream(Link::Current, cx, now)?;
        has_moved |= self.read_upstream(Link::Next, cx, now)?;
        let traffic = self.session.take_traffic();
        self.meter.upstream().messages += traffic.upstream_messages;
        self.meter.downstream().messages += traffic.downstream_messages;
        has_moved |= self.send(cx, now)?;
        Ok(has_moved)
    }

    fn read_client(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
        let mut is_judged = self.judge_client(cx, now)?;
        let mut has_come = false;
        // A held client is read a little, so that its end is noticed.
        let is_wanted = self.session.wants_client() || self.client.unread().len() < READ;
        if is_judged && is_wanted {
            match self.client.poll_read(cx) {
                Poll::Ready(Ok(true)) => {
                    has_come = true;
                    self.client_heard = now;
                    is_judged = self.judge_client(cx, now)?;
                }
                Poll::Ready(Ok(false)) | Poll::Pending => {}
                Poll::Ready(Err(error)) => return Err(Outcome::ClientBroke(error)),
            }
        }
        // What it said last is still passed on, unless there is nobody to pass it on to.
        let is_done = is_judged && self.session.wants_client();
        if self.client.has_ended() && (is_done || self.session.is_in_outage()) {
            return Err(Outcome::ClientLeft);
        }
        Ok(has_come)
    }

    /// Whether everything unread was looked at.
    fn judge_client(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
        loop {
            let unsent = self.current.as_ref().map_or(0, Port::unsent);
            if unsent >= self.patience.buffered {
                return Ok(false);
            }
            let judged = self.session.handle_client(self.client.unread(), now);
            let verdict = judged.map_err(Outcome::ClientErred)?;
            if let Some(current) = &mut self.current {
                let forwarded = self.client.unread().get(..verdict.forward);
                current
                    .pass(cx, forwarded.unwrap_or_default())
                    .map_err(|error| Outcome::Lost(Link::Current, error.to_string()))?;
            }
            self.meter.upstream().bytes += verdict.forward as u64;
            self.client.consume(verdict.forward + verdict.skip);
            self.settle(cx)?;
            if verdict.is_empty() {
                return Ok(true);
            }
        }
    }

    fn port(&mut self, link: Link) -> Option<&mut Port<UpstreamStream>> {
        match link {
            Link::Current => self.current.as_mut(),
            Link::Next => self.next.as_mut(),
        }
    }

    fn read_upstream(
        &mut self,
        link: Link,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<bool, Outcome> {
        let is_full = self.client.unsent() >= self.patience.buffered;
        if is_full || (link == Link::Next && !self.session.wants_next()) {
            return Ok(false);
        }
        let Some(port) = self.port(link) else {
            return Ok(false);
        };
        let mut has_come = false;
        // One TLS record is a quarter of what the client can take at once.
        while port.unread().len() < READ {
            match port.poll_read(cx) {
                Poll::Ready(Ok(true)) => has_come = true,
                Poll::Ready(Ok(false)) | Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(Outcome::Lost(link, error.to_string())),
            }
        }
        let has_ended = port.has_ended();
        if has_come && link == Link::Current {
            self.upstream_heard = now;
            self.unanswered = 0;
        }
        // Also what was read before: by the handshake, or while the client was behind.
        let is_judged = self.judge_upstream(link, cx, now)?;
        if has_ended && is_judged {
            return Err(Outcome::Lost(link, "the server closed it".into()));
        }
        Ok(has_come)
    }

    /// Whether everything unread was looked at, and the connection is still the same.
    fn judge_upstream(
        &mut self,
        link: Link,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<bool, Outcome> {
        loop {
            if self.client.unsent() >= self.patience.buffered {
                return Ok(false);
            }
            let port = match link {
                Link::Current => &mut self.current,
                Link::Next => &mut self.next,
            };
            let Some(port) = port else {
                return Ok(false);
            };
            let verdict = self
                .session
                .handle_upstream(link, port.unread(), now)
                .map_err(|error: UpstreamError| Outcome::Lost(link, error.to_string()))?;
            let forwarded = port.unread().get(..verdict.forward).unwrap_or_default();
            self.client
                .pass(cx, forwarded)
                .map_err(Outcome::ClientBroke)?;
            self.meter.downstream().bytes += verdict.forward as u64;
            port.consume(verdict.forward + verdict.skip);
            if self.settle(cx)? {
                return Ok(false);
            }
            if verdict.is_empty() {
                return Ok(true);
            }
        }
    }

    /// What follows from a call of the session: connections that change places, and bytes of its own. Whether
    /// connections changed.
    fn settle(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        let mut has_changed = false;
        while let Some(event) = self.session.poll_event() {
            match &event {
                Event::Switched { .. } => {
                    self.retired = std::mem::replace(&mut self.current, self.next.take());
                    self.unanswered = 0;
                    has_changed = true;
                }
                Event::GivenUp(_) => {
                    self.retired = self.next.take();
                    has_changed = true;
                }
                _ => {}
            }
            self.events.push_back(event);
        }
        let own = std::mem::take(self.session.transmit(Side::Client));
        self.meter.downstream().bytes += own.len() as u64;
        self.client.pass(cx, &own).map_err(Outcome::ClientBroke)?;
        for link in [Link::Current, Link::Next] {
            let own = std::mem::take(self.session.transmit(Side::Upstream(link)));
            if let Some(port) = self.port(link)
                && !own.is_empty()
            {
                port.pass(cx, &own)
                    .map_err(|error| Outcome::Lost(link, error.to_string()))?;
            }
        }
        Ok(has_changed)
    }

    fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
        let mut has_moved = self.client.send(cx).map_err(Outcome::ClientBroke)?;
        if has_moved || self.client.unsent() == 0 {
            self.client_stalls = None;
        }
        if self.client.unsent() > 0 {
            self.client_stalls.get_or_insert(now);
        }
        for link in [Link::Current, Link::Next] {
            if let Some(port) = self.port(link) {
                has_moved |= port
                    .send(cx)
                    .map_err(|error| Outcome::Lost(link, error.to_string()))?;
            }
        }
        Ok(has_moved)
    }

    /// Does what is due, or arms the timer.
    fn poll_time(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), Outcome>> {
        if let Err(outcome) = self.handle_time(cx, now) {
            return Poll::Ready(Err(outcome));
        }
        if !self.events.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let due = self.due();
        if self.armed.is_none_or(|armed| due < armed) {
            self.timer.as_mut().reset(due.into());
            self.armed = Some(due);
        }
        let fired = std::future::Future::poll(self.timer.as_mut(), cx);
        if fired.is_ready() {
            self.armed = None;
        }
        fired.map(Ok)
    }

    fn handle_time(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Outcome> {
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
            self.settle(cx)?;
        }
        if self.stalls_until().is_some_and(|due| due <= now) {
            return Err(Outcome::ClientTooSlow);
        }
        if self.stale_at().is_some_and(|due| due <= now) {
            return Err(Outcome::ClientStale);
        }
        if self.asks_at().is_some_and(|due| due <= now) {
            if self.unanswered >= MOST_UNANSWERED {
                let cause = "the server does not answer PING".to_owned();
                return Err(Outcome::Lost(Link::Current, cause));
            }
            self.unanswered += 1;
            self.session.ask_alive();
            self.settle(cx)?;
            self.send(cx, now)?;
        }
        Ok(())
    }

    fn due(&self) -> Instant {
        let all = [
            self.session.poll_timeout(),
            self.stalls_until(),
            self.stale_at(),
            self.asks_at(),
        ];
        let far = self.client_heard + Duration::from_secs(24 * 60 * 60);
        all.into_iter().flatten().min().unwrap_or(far)
    }

    fn stalls_until(&self) -> Option<Instant> {
        Some(self.client_stalls? + self.patience.stall)
    }

    fn stale_at(&self) -> Option<Instant> {
        let has_half = !self.session.is_between_operations()
            || (!self.client.unread().is_empty() && self.session.wants_client());
        let half = has_half.then(|| self.client_heard + HALF_AN_OPERATION);
        let idle = self.patience.idle.map(|idle| self.client_heard + idle);
        [half, idle].into_iter().flatten().min()
    }

    fn asks_at(&self) -> Option<Instant> {
        self.current.as_ref()?;
        Some(self.upstream_heard + self.patience.ping_interval * (self.unanswered + 1))
    }

    fn is_at_rest(&self) -> bool {
        self.session.client_is_between_frames()
            && self.session.is_between_operations()
            && !self.session.is_handing_over()
    }

    /// [`Outcome::AtRest`] is wanted.
    pub(super) fn wait_for_rest(&mut self) {
        self.waits_for_rest = true;
    }

    /// Begins a handover; the bytes that came behind the PONG are in `upstream`.
    pub(super) fn begin_handover(&mut self, upstream: Port<UpstreamStream>, move_to: Move) {
        self.next = Some(upstream);
        self.session.begin_handover(move_to, Instant::now());
    }

    /// An upstream connection is lost; what that means.
    pub(super) fn lose(&mut self, link: Link) -> Loss {
        match link {
            Link::Current => self.current = None,
            Link::Next => self.next = None,
        }
        self.session.handle_upstream_lost(link, Instant::now())
    }

    /// The current connection, given up on purpose.
    pub(super) fn take_current(&mut self) -> Option<Retired> {
        self.current.take()
    }

    /// Another connection ends the outage.
    ///
    /// # Errors
    /// If its INFO cannot be read; the outage goes on.
    pub(super) fn restore(
        &mut self,
        upstream: Port<UpstreamStream>,
        info: &[u8],
    ) -> Result<(), UpstreamError> {
        self.session.restore(info)?;
        self.current = Some(upstream);
        self.upstream_heard = Instant::now();
        self.unanswered = 0;
        Ok(())
    }

    /// A connection that the session left behind, to be closed.
    pub(super) fn take_retired(&mut self) -> Option<Retired> {
        self.retired.take()
    }

    /// Says something to the client, if it is not in the middle of a message.
    pub(super) fn tell(&mut self, line: &[u8]) {
        if self.session.client_is_between_frames() {
            self.client.append(line);
        }
    }

    /// The sides, to be closed.
    pub(super) fn into_sides(mut self) -> (Port<TcpStream>, Vec<Retired>) {
        self.meter.flush();
        let upstream = [self.current, self.next, self.retired];
        (self.client, upstream.into_iter().flatten().collect())
    }
}
