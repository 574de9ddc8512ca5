//! The client's operations: remembered as far as another connection must be told, and passed on.

use std::time::Instant;

use super::handover::Handover;
use super::interest::unsubscribe;
use super::pings::{Fence, Owner};
use super::{ClientError, Session, Verdict};
use crate::relay::protocol::{ClientOp, Step, is_subject};

/// What becomes of a control line.
enum Line {
    Pass,
    /// Something else was written in its place.
    Replaced,
}

impl Session {
    /// Judges the first of the client's unread bytes. Nothing is judged while the client is held.
    ///
    /// # Errors
    /// [`ClientError`] once everything before the offence was judged; the client is to be told, and closed.
    pub(crate) fn handle_client(
        &mut self,
        unread: &[u8],
        now: Instant,
    ) -> Result<Verdict, ClientError> {
        let mut verdict = Verdict::default();
        loop {
            if self.client.parser.at_boundary() {
                self.client_is_between(now);
                if self.holds_client() {
                    break;
                }
                if !self.transmit.current.is_empty() {
                    verdict.is_put_off = true;
                    break;
                }
            }
            let Some(rest) = unread.get(verdict.forward..) else {
                break;
            };
            // An error changes nothing in the parser: what came before it is passed on first.
            let step = match self.client.parser.next(rest) {
                Err(_) if verdict.has_judged() => break,
                step => step?,
            };
            match step {
                Step::More => break,
                Step::Payload { length, last } if self.client.discards => {
                    self.client.discards = !last;
                    verdict.skip = length;
                    break;
                }
                Step::Payload { length, .. } => verdict.forward += length,
                Step::Line { op, length } => match self.handle_operation(op) {
                    Ok(Line::Pass) => verdict.forward += length,
                    Ok(Line::Replaced) => {
                        verdict.skip = length;
                        break;
                    }
                    Err(_) if verdict.has_judged() => break,
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(verdict)
    }

    fn handle_operation(&mut self, op: ClientOp<'_>) -> Result<Line, ClientError> {
        match op {
            ClientOp::Publish { .. } => self.traffic.upstream_messages += 1,
            ClientOp::Ping => self.current.pings.sent(Owner::Client, self.written()),
            ClientOp::Pong => {}
            ClientOp::Subscribe {
                subject,
                queue,
                sid,
            } => {
                let is_new = is_subject(subject)
                    && self
                        .interest
                        .add(subject, queue, sid)
                        .map_err(|_| ClientError::TooManySubscriptions)?;
                self.client.others += u64::from(!is_new);
            }
            ClientOp::Unsubscribe { sid, max } => return Ok(self.unsubscribe(sid, max)),
            ClientOp::Connect(_) => return Err(ClientError::SecondConnect),
            ClientOp::Other => return Ok(Line::Pass),
        }
        Ok(Line::Pass)
    }

    fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>) -> Line {
        self.client.others += 1;
        let done = self.interest.unsubscribe(sid, max);
        if let Some(max) = done.next {
            self.unsubscribe_next(sid, max);
        }
        match done.current {
            Some(max) => {
                unsubscribe(&mut self.transmit.current, sid, max);
                Line::Replaced
            }
            None => Line::Pass,
        }
    }

    /// On the next connection, where a handover is under way.
    pub(super) fn unsubscribe_next(&mut self, sid: &[u8], max: Option<u64>) {
        if let Some(next) = &mut self.next {
            unsubscribe(&mut self.transmit.next, sid, max);
            // What is written behind the last fence is answered behind it.
            let is_behind = self.handover.as_ref().is_some_and(Handover::has_cut);
            if self.client.options.verbose && is_behind {
                next.pings.wrote(1);
            }
        }
    }

    /// The client has all it wanted, but the server of the current connection counted later.
    pub(super) fn unsubscribe_current(&mut self, sid: &[u8]) {
        // Where it is left anyway there is nothing to say.
        if self.handover.as_ref().is_some_and(Handover::has_cut) {
            return;
        }
        let mut line = Vec::new();
        unsubscribe(&mut line, sid, None);
        self.inject(&line);
        if self.client.options.verbose {
            self.current.pings.wrote(1);
        }
    }

    /// Asks the server of the current connection for a sign of life.
    pub(crate) fn ask_alive(&mut self) {
        if !self.outage {
            let owner = Owner::Relay(Fence::Alive, 0);
            self.current.pings.sent(owner, self.written());
            self.inject(b"PING\r\n");
        }
    }

    /// Writes for the current connection, between two operations of the client.
    pub(super) fn inject(&mut self, bytes: &[u8]) {
        if self.client.parser.at_boundary() {
            self.transmit.current.extend_from_slice(bytes);
        } else {
            self.client.injected.extend_from_slice(bytes);
        }
    }

    fn client_is_between(&mut self, now: Instant) {
        let injected = std::mem::take(&mut self.client.injected);
        self.transmit.current.extend_from_slice(&injected);
        self.gate_is_taken(now);
        self.leave_if_possible();
    }
}
