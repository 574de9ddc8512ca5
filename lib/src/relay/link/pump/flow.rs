//! Reads each side, has the session judge what came, and writes what it says: to the other side, in this order.

use std::task::{Context, Poll};
use std::time::Instant;

use super::{Outcome, Pump};
use crate::relay::dial::UpstreamStream;
use crate::relay::link::port::{Port, READ};
use crate::relay::session::{Event, Link, Side, UpstreamError};

impl Pump {
    pub(super) fn read_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<bool, Outcome> {
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

    pub(super) fn read_upstream(
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
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
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

    pub(super) fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
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
}
