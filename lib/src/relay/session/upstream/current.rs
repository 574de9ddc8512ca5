//! What the connection in use sends: to the client as it comes, except for what is the relay's own.

use std::time::Instant;

use crate::relay::protocol::{ServerOp, Step};
use crate::relay::session::denied::{Denial, TOO_MANY};
use crate::relay::session::handover::Abort;
use crate::relay::session::interest::Key;
use crate::relay::session::link::{Fate, Held};
use crate::relay::session::passing::Passing;
use crate::relay::session::pings::{Fence, Owner};
use crate::relay::session::{Session, UpstreamError, Verdict};

/// What becomes of a control line that is not a message's.
enum Line {
    Pass,
    Swallow,
}

impl Session {
    pub(super) fn handle_current(
        &mut self,
        unread: &[u8],
        now: Instant,
    ) -> Result<Verdict, UpstreamError> {
        let mut verdict = Verdict::default();
        if self.waits_for_copies() {
            return Ok(verdict);
        }
        loop {
            if self.client_is_between_frames() {
                self.flush_deferred();
            }
            // What is written now belongs behind what is forwarded, before the rest.
            if !self.transmit.client.is_empty() {
                verdict.is_put_off = true;
                break;
            }
            let Some(rest) = unread.get(verdict.forward..) else {
                break;
            };
            // What came before an error is passed on first: it was counted, and it may be half a message.
            let step = match self.current.parser.next(rest) {
                Err(_) if verdict.has_judged() => break,
                step => step?,
            };
            let (length, passes) = match step {
                Step::More => break,
                Step::Payload { length, last } => {
                    let bytes = rest.get(..length).unwrap_or_default();
                    (length, self.more_of_current(bytes, last, now))
                }
                Step::Line {
                    op: ServerOp::Message { sid, headers, .. },
                    length,
                } => {
                    let line = rest.get(..length).unwrap_or_default();
                    (length, self.message_of_current(sid, headers, line))
                }
                Step::Line { op, length } => match self.line_of_current(op, now) {
                    Err(_) if verdict.has_judged() => break,
                    line => (length, matches!(line?, Line::Pass)),
                },
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

    /// Decides about a message by its control line; whether the line is passed on now.
    fn message_of_current(&mut self, sid: &[u8], headers: bool, line: &[u8]) -> bool {
        self.traffic.downstream_messages += 1;
        let Some(key) = self.interest.find(sid) else {
            // In flight while the client unsubscribed: it knows what to do with it.
            self.current.fate = Fate::Forward;
            return true;
        };
        self.interest.sent_by_current(key);
        self.current.fate = self.fate_on_current(key, sid, headers, line);
        self.current.fate.passes()
    }

    fn fate_on_current(&mut self, key: Key, sid: &[u8], headers: bool, line: &[u8]) -> Fate {
        // By far the most.
        if self.handover.is_none() {
            return if self.deliver(key, sid) {
                Fate::Forward
            } else {
                Fate::Drop
            };
        }
        let subscription = self.interest.get(key);
        let is_queue = subscription.is_some_and(|known| known.is_queue());
        let may_be_owed = subscription.is_some_and(|known| self.may_be_owed(known));
        let surely = subscription.is_some_and(|known| known.is_fenced());
        if self.owes_copies() && !is_queue {
            // After the switch: perhaps a late copy of what the former connection delivered.
            return self.hold(key, line);
        }
        if !self.deliver(key, sid) {
            return Fate::Drop;
        }
        if may_be_owed && self.matches_frames() {
            let passing = Passing::new(key, surely, headers, line);
            return Fate::ForwardAndMatch(Box::new(passing));
        }
        Fate::Forward
    }

    /// More of the message under way; whether it is passed on.
    fn more_of_current(&mut self, bytes: &[u8], last: bool, now: Instant) -> bool {
        match &mut self.current.fate {
            Fate::Forward => return true,
            Fate::Drop => return false,
            Fate::ForwardAndMatch(passing) => passing.push(bytes),
            Fate::Hold(held) => held.push(bytes),
        }
        let passes = self.current.fate.passes();
        if last {
            match std::mem::take(&mut self.current.fate) {
                Fate::ForwardAndMatch(passing) => self.delivered_by_current(passing.finish()),
                Fate::Hold(held) => self.judge_copy(*held, now),
                Fate::Forward | Fate::Drop => {}
            }
        }
        passes
    }

    /// A whole message of the connection that became the current one.
    fn judge_copy(&mut self, held: Held, now: Instant) {
        let (key, hash, frame) = held.finish();
        if self.was_delivered(hash) {
            return;
        }
        match frame {
            Some(frame) => self.deliver_kept(key, &frame),
            None => self.give_up(Abort::TooLarge, now),
        }
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
            ServerOp::Pong => return Ok(self.pong_of_current(now)),
            ServerOp::Ok => {
                if self.current.swallow_ok() {
                    return Ok(Line::Swallow);
                }
            }
            ServerOp::Error(text) => {
                self.refused_by_current(text);
            }
        }
        Ok(Line::Pass)
    }

    fn pong_of_current(&mut self, now: Instant) -> Line {
        let Some((owner, written)) = self.current.pings.answered() else {
            return Line::Swallow;
        };
        if let Some(too_many) = self.current.refusals.answered(written) {
            self.interest.denied_numbers(&too_many);
        }
        match owner {
            Owner::Client => {
                self.welcomed();
                Line::Pass
            }
            Owner::Relay(Fence::Farewell, _) => {
                self.has_left();
                Line::Swallow
            }
            Owner::Relay(fence, number) => {
                self.passed(fence, number, now);
                Line::Swallow
            }
        }
    }

    /// What its server does not have must not be made again elsewhere.
    fn refused_by_current(&mut self, text: &[u8]) {
        if text.eq_ignore_ascii_case(TOO_MANY) {
            self.current.refusals.one_too_many();
        }
        let Some(denial) = Denial::parse(text) else {
            return;
        };
        self.current.refusals.blur();
        let confirmed = self.current.refusals.confirmed();
        for sid in self.interest.denied(&denial.meant(), confirmed) {
            self.unsubscribe_next(sid.bytes(), None);
        }
    }
}
