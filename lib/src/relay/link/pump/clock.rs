//! What is due, and when: a step of the session, a client that is too slow or silent, a server that may be dead.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Outcome, Pump};
use crate::relay::session::Link;

/// PINGs without an answer after which a silent server is given up.
const MOST_UNANSWERED: u32 = 2;
/// How long a client may leave an operation half said. nats-server itself calls such a client stale.
const HALF_AN_OPERATION: Duration = Duration::from_secs(60);

impl Pump {
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
}
