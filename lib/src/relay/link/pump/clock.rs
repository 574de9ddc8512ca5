//! What is due, and when: a step of the session, a client that is too slow or silent, a server that may be dead.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Outcome, Pump};
use crate::relay::link::port::Stream;
use crate::relay::session::Link;

/// PINGs without an answer after which a silent server is given up.
const MOST_UNANSWERED: u32 = 2;

/// Since when the relay waits for the client. While it does not read, because there is no server, the client is held or
/// the server takes nothing, it is not the client that is silent.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// For anything, in either direction.
    all: Option<Instant>,
    /// For the rest of an operation.
    half: Option<Instant>,
}

impl<C: Stream, U: Stream> Pump<C, U> {
    /// Does what is due, or arms the timer.
    pub(super) fn poll_time(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Result<(), Outcome>> {
        if let Err(outcome) = self.handle_time(cx, now) {
            return Poll::Ready(Err(outcome));
        }
        if !self.events.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let due = self.due(now);
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

    /// Does what is due by `now`.
    pub(super) fn handle_time(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<(), Outcome> {
        if self.client_stalls.is_some() {
            self.session.client_is_behind(now);
        }
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
            self.settle(cx, now);
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
            self.settle(cx, now);
            self.send(cx, now);
        }
        Ok(())
    }

    /// The client was read as far as it may be, and has said something or not.
    pub(super) fn note_silence(&mut self, waits: bool, has_come: bool, now: Instant) {
        let since = |before: Option<Instant>, waits: bool| match before {
            _ if !waits => None,
            Some(before) if !has_come => Some(before),
            _ => Some(now),
        };
        let has_half = !self.session.is_between_operations() || !self.client.unread().is_empty();
        self.silence = Silence {
            all: since(self.silence.all, waits),
            half: since(self.silence.half, waits && has_half),
        };
    }

    pub(super) fn note_word_to_client(&mut self, now: Instant) {
        self.silence.all = self.silence.all.map(|_| now);
    }

    /// It has said something, or is not read: whatever it says waits until the client has taken more.
    pub(super) fn note_word_of_server(&mut self, now: Instant) {
        self.upstream_heard = now;
        self.unanswered = 0;
    }

    fn due(&self, now: Instant) -> Instant {
        let all = [
            self.session.poll_timeout(),
            self.stalls_until(),
            self.stale_at(),
            self.asks_at(),
        ];
        let far = now + Duration::from_secs(24 * 60 * 60);
        all.into_iter().flatten().min().unwrap_or(far)
    }

    fn stalls_until(&self) -> Option<Instant> {
        Some(self.client_stalls? + self.patience.stall)
    }

    fn stale_at(&self) -> Option<Instant> {
        let half = self
            .silence
            .half
            .map(|since| since + self.patience.operation);
        let idle = self.silence.all.zip(self.patience.idle);
        let idle = idle.map(|(since, limit)| since + limit);
        [half, idle].into_iter().flatten().min()
    }

    fn asks_at(&self) -> Option<Instant> {
        self.current.as_ref()?;
        Some(self.upstream_heard + self.patience.ping_interval * (self.unanswered + 1))
    }
}
