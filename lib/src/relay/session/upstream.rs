//! What the servers send: to the client, matched with its twin, kept, or for the relay alone.

use std::time::Instant;

use super::denied::denied_subscription;
use super::handover::{Abort, Handover};
use super::interest::Key;
use super::link::{Fate, Held};
use super::matching::FrameHasher;
use super::pings::Owner;
use super::{Event, Link, Session, UpstreamError, Verdict, Welcome};
use crate::relay::protocol::{self, ServerInfo, ServerOp, Step};

/// What becomes of a control line that is not a message's.
enum Line {
    Pass,
    Swallow,
}

impl Session {
    /// Judges the first of the unread bytes of an upstream connection. Nothing of the next connection is ever passed on
    /// directly.
    ///
    /// # Errors
    /// [`UpstreamError`]: the connection is of no use any more.
    pub(crate) fn handle_upstream(
        &mut self,
        link: Link,
        unread: &[u8],
        now: Instant,
    ) -> Result<Verdict, UpstreamError> {
        match link {
            Link::Current => self.handle_current(unread, now),
            Link::Next => self.handle_next(unread, now),
        }
    }

    fn handle_current(&mut self, unread: &[u8], now: Instant) -> Result<Verdict, UpstreamError> {
        let mut verdict = Verdict::default();
        loop {
            if self.client_is_between_frames() {
                self.flush_deferred();
            }
            // What is written now belongs behind what is forwarded, before the rest.
            if !self.transmit.client.is_empty() {
                break;
            }
            let Some(rest) = unread.get(verdict.forward..) else {
                break;
            };
            let step = match self.current.parser.next(rest) {
                Err(_) if !verdict.is_empty() => break,
                step => step?,
            };
            let (length, passes) = match step {
                Step::More => break,
                Step::Payload { length, last } => {
                    let bytes = rest.get(..length).unwrap_or_default();
                    (length, self.more_of_current(bytes, last))
                }
                Step::Line {
                    op: ServerOp::Message { sid, .. },
                    length,
                } => {
                    let line = rest.get(..length).unwrap_or_default();
                    (length, self.message_of_current(sid, line))
                }
                Step::Line { op, length } => {
                    let passes = matches!(self.line_of_current(op, now)?, Line::Pass);
                    (length, passes)
                }
            };
            if passes {
                verdict.forward += length;
            } else {
                verdict.skip = length;
                break;
            }
        }
        Ok(verdict)
    }

    fn flush_deferred(&mut self) {
        if !self.deferred.is_empty() {
            let deferred = std::mem::take(&mut self.deferred);
            self.transmit.client.extend_from_slice(&deferred);
        }
    }

    /// Decides about a message by its control line; whether the line is passed on now.
    fn message_of_current(&mut self, sid: &[u8], line: &[u8]) -> bool {
        self.traffic.downstream_messages += 1;
        let Some(key) = self.interest.find(sid) else {
            // In flight while the client unsubscribed: it knows what to do with it.
            self.current.fate = Fate::Forward;
            return true;
        };
        self.interest.sent_by_current(key);
        self.current.fate = self.fate_on_current(key, sid, line);
        self.current.fate.passes()
    }

    fn fate_on_current(&mut self, key: Key, sid: &[u8], line: &[u8]) -> Fate {
        let subscription = self.interest.get(key);
        let is_queue = subscription.is_some_and(|known| known.is_queue());
        let is_on_next = subscription.is_some_and(|known| known.is_on_next());
        let mut hasher = FrameHasher::default();
        if self.owes_copies() && !is_queue {
            // After the switch: perhaps a late copy of what the former connection delivered.
            hasher.update(line);
            return Fate::Hold(Box::new(Held {
                key,
                frame: line.to_vec(),
                hasher,
            }));
        }
        if !self.deliver(key, sid) {
            return Fate::Drop;
        }
        if is_on_next && !is_queue && self.matches_frames() {
            hasher.update(line);
            return Fate::ForwardAndMatch(Box::new(hasher));
        }
        Fate::Forward
    }

    /// More of the message under way; whether it is passed on.
    fn more_of_current(&mut self, bytes: &[u8], last: bool) -> bool {
        match &mut self.current.fate {
            Fate::Forward => return true,
            Fate::Drop => return false,
            Fate::ForwardAndMatch(hasher) => hasher.update(bytes),
            Fate::Hold(held) => {
                held.hasher.update(bytes);
                held.frame.extend_from_slice(bytes);
            }
        }
        let passes = self.current.fate.passes();
        if last {
            match std::mem::take(&mut self.current.fate) {
                Fate::ForwardAndMatch(hasher) => self.delivered_by_current(hasher.finish()),
                Fate::Hold(held) => self.judge_copy(*held),
                Fate::Forward | Fate::Drop => {}
            }
        }
        passes
    }

    /// A whole message of the connection that became the current one.
    fn judge_copy(&mut self, held: Held) {
        if self.was_delivered(held.hasher.finish()) {
            return;
        }
        self.deliver_kept(held.key, &held.frame);
    }

    /// Gives the client a whole frame that was kept, unless its subscription has ended.
    pub(super) fn deliver_kept(&mut self, key: Key, frame: &[u8]) {
        let Some(sid) = self.interest.get(key).map(|known| known.sid().clone()) else {
            return;
        };
        if self.deliver(key, sid.bytes()) {
            self.deferred.extend_from_slice(frame);
        }
        if self.client_is_between_frames() {
            self.flush_deferred();
        }
    }

    /// Counts a message for the client, and ends at the servers what ends with it; whether the client may have it.
    fn deliver(&mut self, key: Key, sid: &[u8]) -> bool {
        let delivery = self.interest.deliver(key);
        if delivery.ends_on_current {
            self.unsubscribe_current(sid);
        }
        if delivery.ends_on_next {
            self.unsubscribe_next(sid, None);
        }
        !delivery.surplus
    }

    fn line_of_current(&mut self, op: ServerOp<'_>, now: Instant) -> Result<Line, UpstreamError> {
        match op {
            ServerOp::Message { .. } => {}
            ServerOp::Info(json) => {
                self.tell_info(json)?;
                return Ok(Line::Swallow);
            }
            ServerOp::Ping if self.answers_pings() => {
                self.inject(b"PONG\r\n");
                return Ok(Line::Swallow);
            }
            ServerOp::Ping => {}
            ServerOp::Pong => match self.current.pings.answered() {
                Some(Owner::Client) => self.welcomed(),
                Some(Owner::Relay(fence, number)) => {
                    self.passed(fence, number, now);
                    return Ok(Line::Swallow);
                }
                None => return Ok(Line::Swallow),
            },
            ServerOp::Ok => {
                if self.current.swallow_ok() {
                    return Ok(Line::Swallow);
                }
            }
            ServerOp::Error(text) => {
                if let Some((subject, queue)) = denied_subscription(text) {
                    self.interest.denied(&subject, queue.as_deref());
                }
            }
        }
        Ok(Line::Pass)
    }

    /// A PING of the client is answered: what it may know only now comes behind the PONG.
    fn welcomed(&mut self) {
        if let Welcome::Pending { info } = &mut self.client.welcome {
            self.deferred.append(info);
            self.client.welcome = Welcome::Over;
        }
    }

    /// Tells the client what the server it is connected to says of itself.
    pub(super) fn tell_info(&mut self, json: &[u8]) -> Result<(), UpstreamError> {
        let info = ServerInfo::parse(json)?;
        let line = protocol::rewrite_info(json, &self.settings.info)?;
        let headers = self.client.options.headers && info.headers;
        self.client.parser.set_max_payload(info.max_payload);
        self.client.parser.set_headers(headers);
        if self.client.options.understands_info {
            match &mut self.client.welcome {
                Welcome::Pending { info } => *info = line,
                Welcome::Over => self.deferred.extend_from_slice(&line),
            }
        }
        if self.client_is_between_frames() {
            self.flush_deferred();
        }
        if info.lame_duck {
            self.events.push_back(Event::LameDuck);
        }
        Ok(())
    }

    fn handle_next(&mut self, unread: &[u8], now: Instant) -> Result<Verdict, UpstreamError> {
        let mut verdict = Verdict::default();
        // Passing a fence may end the next connection: it is looked for again each time.
        while self.wants_next()
            && let Some(next) = &mut self.next
        {
            let Some(rest) = unread.get(verdict.skip..) else {
                break;
            };
            let step = match next.parser.next(rest) {
                Err(_) if !verdict.is_empty() => break,
                step => step?,
            };
            let (length, bytes) = match &step {
                Step::More => break,
                Step::Payload { length, .. } | Step::Line { length, .. } => {
                    (*length, rest.get(..*length).unwrap_or_default())
                }
            };
            verdict.skip += length;
            match step {
                Step::More => {}
                Step::Payload { last, .. } => self.more_of_next(bytes, last),
                Step::Line {
                    op: ServerOp::Message { sid, .. },
                    ..
                } => {
                    self.message_of_next(sid, bytes);
                }
                Step::Line { op, .. } => {
                    if self.line_of_next(op, now)? {
                        break;
                    }
                }
            }
        }
        Ok(verdict)
    }

    fn message_of_next(&mut self, sid: &[u8], line: &[u8]) {
        let key = self.interest.find(sid);
        if let Some(key) = key {
            self.interest.sent_by_next(key);
        }
        let Some(next) = &mut self.next else {
            return;
        };
        next.fate = key.map_or(Fate::Drop, |key| {
            let mut hasher = FrameHasher::default();
            hasher.update(line);
            Fate::Hold(Box::new(Held {
                key,
                frame: line.to_vec(),
                hasher,
            }))
        });
    }

    fn more_of_next(&mut self, bytes: &[u8], last: bool) {
        let Some(next) = &mut self.next else {
            return;
        };
        if let Fate::Hold(held) = &mut next.fate {
            held.hasher.update(bytes);
            held.frame.extend_from_slice(bytes);
        }
        if last && let Fate::Hold(held) = std::mem::take(&mut next.fate) {
            self.judge_next(*held);
        }
    }

    fn judge_next(&mut self, held: Held) {
        let Some(subscription) = self.interest.get(held.key) else {
            return;
        };
        if subscription.is_queue() {
            // One member of the group gets each message: nobody else will deliver it.
            self.traffic.downstream_messages += 1;
            self.deliver_kept(held.key, &held.frame);
            return;
        }
        self.keep_or_settle(held);
    }

    /// A control line of the next connection; whether the handover must be looked at before more is read.
    fn line_of_next(&mut self, op: ServerOp<'_>, now: Instant) -> Result<bool, UpstreamError> {
        let Some(next) = &mut self.next else {
            return Ok(true);
        };
        match op {
            ServerOp::Message { .. } => {}
            ServerOp::Ok => {
                next.swallow_ok();
            }
            ServerOp::Info(json) => {
                ServerInfo::parse(json)?;
                next.unseen_info = Some(json.to_vec());
            }
            ServerOp::Ping => self.transmit.next.extend_from_slice(b"PONG\r\n"),
            ServerOp::Pong => {
                if let Some(Owner::Relay(fence, number)) = next.pings.answered() {
                    self.passed(fence, number, now);
                    return Ok(true);
                }
            }
            ServerOp::Error(text) => {
                if let Some((subject, queue)) = denied_subscription(text)
                    && self.handover.as_ref().is_some_and(Handover::is_forced)
                {
                    self.interest.denied(&subject, queue.as_deref());
                    self.deferred.extend_from_slice(b"-ERR '");
                    self.deferred.extend_from_slice(text);
                    self.deferred.extend_from_slice(b"'\r\n");
                    return Ok(false);
                }
                let abort = match denied_subscription(text) {
                    Some((subject, _)) => Abort::SubscriptionDenied {
                        subject: String::from_utf8_lossy(&subject).into_owned(),
                    },
                    None => Abort::Refused {
                        text: String::from_utf8_lossy(text).into_owned(),
                    },
                };
                self.give_up(abort, now);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Fate {
    fn passes(&self) -> bool {
        matches!(self, Self::Forward | Self::ForwardAndMatch(_))
    }
}
