//! Reads each side, has the session judge what came, and writes what it says: to the other side, in this order.

use std::task::{Context, Poll};
use std::time::Instant;

use super::{Outcome, Pump};
use crate::relay::link::port::{Port, READ, Stream};
use crate::relay::protocol::ParseLimits;
use crate::relay::session::{Event, Link, Side, UpstreamError};

/// So much is read before it is judged, and the longest line in any case.
const MOST_UNREAD: usize = {
    let line = ParseLimits::server().longest_line() + 1;
    if line > READ { line } else { READ }
};

impl<C: Stream, U: Stream> Pump<C, U> {
    pub(super) fn read_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<bool, Outcome> {
        let mut is_judged = self.judge_client(cx, now)?;
        let mut has_come = false;
        // A held client is read a little, so that its end is noticed.
        let is_wanted = self.session.wants_client() || self.client.unread().len() < READ;
        if is_judged && is_wanted && self.client.poll_read(cx) == Poll::Ready(true) {
            has_come = true;
            is_judged = self.judge_client(cx, now)?;
        }
        let waits = is_judged && self.session.wants_client();
        self.note_silence(waits, has_come, now);
        // What it said last is still passed on, unless there is nobody to pass it on to.
        let is_over = self.client.has_ended() && !has_come;
        if is_over && (waits || self.session.is_in_outage()) {
            return Err(match self.client.take_error() {
                Some(error) => Outcome::ClientBroke(error),
                None => Outcome::ClientLeft,
            });
        }
        Ok(has_come)
    }

    /// Whether everything unread was looked at.
    fn judge_client(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Outcome> {
        loop {
            // What a connection that has ended cannot take is for the next one.
            let is_stuck = self.current.as_ref().is_some_and(|current| {
                current.has_ended() || current.unsent() >= self.patience.buffered
            });
            if is_stuck {
                return Ok(false);
            }
            let judged = self.session.handle_client(self.client.unread(), now);
            let verdict = judged.map_err(Outcome::ClientErred)?;
            if let Some(current) = &mut self.current {
                let forwarded = self.client.unread().get(..verdict.forward);
                current.pass(cx, forwarded.unwrap_or_default());
            }
            self.meter.upstream().bytes += verdict.forward as u64;
            self.client.consume(verdict.forward + verdict.skip);
            self.settle(cx, now);
            if verdict.is_empty() {
                return Ok(true);
            }
        }
    }

    fn port(&mut self, link: Link) -> Option<&mut Port<U>> {
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
        if is_full && link == Link::Current {
            self.note_word_of_server(now);
        }
        if is_full || (link == Link::Next && !self.session.wants_next()) {
            return Ok(false);
        }
        let Some(port) = self.port(link) else {
            return Ok(false);
        };
        let is_read = port.unread().len() < MOST_UNREAD;
        let (mut has_come, mut is_over) = (false, false);
        // One TLS record is a quarter of what the client can take at once.
        while port.unread().len() < MOST_UNREAD {
            if port.poll_read(cx) != Poll::Ready(true) {
                is_over = port.has_ended();
                break;
            }
            has_come = true;
        }
        if (has_come || !is_read) && link == Link::Current {
            self.note_word_of_server(now);
        }
        // Also what was read before: by the handshake, or while the client was behind.
        let is_judged = self.judge_upstream(link, cx, now)?;
        if is_over && is_judged {
            let error = self.port(link).and_then(Port::take_error);
            let cause =
                error.map_or_else(|| "the server closed it".into(), |error| error.to_string());
            return Err(Outcome::Lost(link, cause));
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
            if verdict.forward > 0 {
                let forwarded = port.unread().get(..verdict.forward).unwrap_or_default();
                self.client.pass(cx, forwarded);
                self.meter.downstream().bytes += verdict.forward as u64;
                self.note_word_to_client(now);
            }
            if let Some(port) = self.port(link) {
                port.consume(verdict.forward + verdict.skip);
            }
            if self.settle(cx, now) {
                return Ok(false);
            }
            if verdict.is_empty() {
                return Ok(true);
            }
        }
    }

    /// What follows from a call of the session: connections that change places, and bytes of its own. Whether
    /// connections changed.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
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
                // A server may say it as often as it likes.
                Event::LameDuck if self.events.back() == Some(&event) => continue,
                _ => {}
            }
            self.events.push_back(event);
        }
        let own = std::mem::take(self.session.transmit(Side::Client));
        if !own.is_empty() {
            self.meter.downstream().bytes += own.len() as u64;
            self.client.pass(cx, &own);
            self.note_word_to_client(now);
        }
        for link in [Link::Current, Link::Next] {
            let own = std::mem::take(self.session.transmit(Side::Upstream(link)));
            if let Some(port) = self.port(link)
                && !own.is_empty()
            {
                port.pass(cx, &own);
            }
        }
        has_changed
    }

    /// Whether anything was taken, or broke, so that another round is due.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut has_moved = self.client.send(cx);
        if has_moved || self.client.unsent() == 0 {
            self.client_stalls = None;
        }
        if self.client.unsent() > 0 {
            self.client_stalls.get_or_insert(now);
        }
        has_moved |= self.client.take_news();
        for link in [Link::Current, Link::Next] {
            if let Some(port) = self.port(link) {
                has_moved |= port.send(cx);
                has_moved |= port.take_news();
            }
        }
        has_moved
    }
}
