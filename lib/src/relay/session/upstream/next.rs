//! What the next connection sends: never to the client directly.

use std::time::Instant;

use crate::relay::protocol::{ServerInfo, ServerOp, Step};
use crate::relay::session::denied::{Denial, TOO_MANY};
use crate::relay::session::handover::Abort;
use crate::relay::session::link::{Fate, Held};
use crate::relay::session::pings::{Fence, Owner};
use crate::relay::session::{Session, UpstreamError, Verdict};

impl Session {
    pub(super) fn handle_next(
        &mut self,
        unread: &[u8],
        now: Instant,
    ) -> Result<Verdict, UpstreamError> {
        let mut verdict = Verdict::default();
        // Passing a fence may end the next connection: it is looked for again each time.
        while self.wants_next()
            && let Some(next) = &mut self.next
        {
            let Some(rest) = unread.get(verdict.skip..) else {
                break;
            };
            let step = match next.parser.next(rest) {
                Err(_) if verdict.has_judged() => break,
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
                Step::Payload { last, .. } => self.more_of_next(bytes, last, now),
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
        let fate = key.map_or(Fate::Drop, |key| self.hold(key, line));
        if let Some(next) = &mut self.next {
            next.fate = fate;
        }
    }

    fn more_of_next(&mut self, bytes: &[u8], last: bool, now: Instant) {
        let Some(next) = &mut self.next else {
            return;
        };
        if let Fate::Hold(held) = &mut next.fate {
            held.push(bytes);
        }
        if last && let Fate::Hold(held) = std::mem::take(&mut next.fate) {
            self.judge_next(*held, now);
        }
    }

    fn judge_next(&mut self, held: Held, now: Instant) {
        let (key, hash, frame) = held.finish();
        let Some(subscription) = self.interest.get(key) else {
            return;
        };
        if !subscription.is_queue() {
            self.keep_or_settle(key, hash, frame, now);
            return;
        }
        match frame {
            // One member of the group gets each message: nobody else will deliver it.
            Some(frame) => {
                self.traffic.downstream_messages += 1;
                self.deliver_kept(key, &frame);
            }
            None => self.close_client(Abort::TooLarge),
        }
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
                if let Some((owner, written)) = next.pings.answered() {
                    let too_many = next.refusals.take_too_many();
                    next.refusals.answered(written);
                    if let Owner::Relay(fence, number) = owner {
                        let is_queue = fence == Fence::Queue;
                        self.interest.too_many_on_next(too_many, is_queue);
                        self.passed(fence, number, now);
                        return Ok(true);
                    }
                }
            }
            ServerOp::Error(text) => return Ok(self.refused_by_next(text, now)),
        }
        Ok(false)
    }

    /// Whether the handover must be looked at.
    fn refused_by_next(&mut self, text: &[u8], now: Instant) -> bool {
        let Some(handover) = &mut self.handover else {
            return true;
        };
        if handover.is_given_up() {
            // One reason is enough, and messages may be on their way.
            return false;
        }
        let room = self.settings.pending_bytes;
        if text.eq_ignore_ascii_case(TOO_MANY) && handover.tells_refusal(text, room) {
            // Which it is is known at the next PONG.
            if let Some(next) = &mut self.next {
                next.refusals.one_too_many();
            }
            return false;
        }
        let abort = match Denial::parse(text) {
            Some(denial) if handover.tells_refusal(text, room) => {
                self.interest.refused_on_next(&denial.meant());
                return false;
            }
            Some(denial) => Abort::SubscriptionDenied {
                subject: String::from_utf8_lossy(&denial.subject).into_owned(),
            },
            None => Abort::Refused {
                text: String::from_utf8_lossy(text).into_owned(),
            },
        };
        self.give_up(abort, now);
        true
    }
}
