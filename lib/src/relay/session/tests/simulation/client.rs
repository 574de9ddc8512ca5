//! The client's end: what it says, and a ledger of what it hears.

use std::collections::HashMap;
use std::time::Instant;

use super::{Numbered, World};
use crate::relay::protocol::{ServerOp, Step};

/// Where answers come.
pub(in crate::relay::session::tests) const INBOX: &str = "inbox.*";

#[derive(Default)]
pub(in crate::relay::session::tests) struct Ledger {
    pub(in crate::relay::session::tests) received: HashMap<String, Vec<Numbered>>,
    pub(in crate::relay::session::tests) pings: usize,
    pub(in crate::relay::session::tests) pongs: usize,
    pub(in crate::relay::session::tests) acknowledgements: usize,
    pub(in crate::relay::session::tests) acknowledgeable: usize,
    pub(in crate::relay::session::tests) published: u64,
    /// Requests that nobody is there to answer, and how many it was told that of.
    pub(in crate::relay::session::tests) requests: usize,
    pub(in crate::relay::session::tests) unanswerable: usize,
    pub(in crate::relay::session::tests) infos: usize,
    pub(in crate::relay::session::tests) errors: Vec<String>,
}

/// How a subscription of the client should be served.
#[derive(Debug, Clone, Default)]
pub(in crate::relay::session::tests) struct Expected {
    pub(in crate::relay::session::tests) subject: String,
    pub(in crate::relay::session::tests) queue: bool,
    /// The first message routed after the server knew of it.
    pub(super) since: Option<usize>,
    /// The same for the server of its publisher.
    pub(super) surely: Option<usize>,
    /// At which server it began.
    pub(super) at: Option<usize>,
    /// The first message routed after the client gave it up.
    pub(in crate::relay::session::tests) until: Option<usize>,
    /// When that was.
    pub(super) left: Option<Instant>,
    pub(in crate::relay::session::tests) max: Option<usize>,
    /// How many it may get, because the server heard late of the maximum.
    pub(super) limit: Option<usize>,
}

impl World {
    fn client_writes(&mut self, text: &str) {
        self.to_session.extend_from_slice(text.as_bytes());
    }

    pub(in crate::relay::session::tests) fn subscribe(
        &mut self,
        sid: &str,
        subject: &str,
        queue: Option<&str>,
    ) {
        let line = match queue {
            Some(queue) => format!("SUB {subject} {queue} {sid}\r\n"),
            None => format!("SUB {subject} {sid}\r\n"),
        };
        self.client_writes(&line);
        self.ledger.acknowledgeable += 1;
        let expected = Expected {
            subject: subject.into(),
            queue: queue.is_some(),
            ..Expected::default()
        };
        self.expected.insert(sid.into(), expected);
    }

    pub(in crate::relay::session::tests) fn unsubscribe(&mut self, sid: &str, max: Option<usize>) {
        let known = self.expected.get_mut(sid).unwrap();
        self.ledger.acknowledgeable += 1;
        match max {
            Some(max) => {
                known.max = Some(max);
                self.client_writes(&format!("UNSUB {sid} {max}\r\n"));
            }
            None => {
                known.until = Some(self.routed.len());
                known.left = Some(self.now);
                self.client_writes(&format!("UNSUB {sid}\r\n"));
            }
        }
    }

    pub(in crate::relay::session::tests) fn ping(&mut self) {
        self.ledger.pings += 1;
        self.client_writes("PING\r\n");
    }

    /// The client publishes its next number.
    pub(in crate::relay::session::tests) fn publish(&mut self) {
        let number = self.ledger.published;
        self.ledger.published += 1;
        self.ledger.acknowledgeable += 1;
        let filling = "x".repeat(self.rng.usize(0..40));
        let payload = format!("{number} {filling}");
        let line = format!("PUB own {}\r\n{payload}\r\n", payload.len());
        self.client_writes(&line);
    }

    /// The client asks what nobody answers; it listens to [`INBOX`].
    pub(in crate::relay::session::tests) fn request(&mut self) {
        let number = self.ledger.requests;
        self.ledger.requests += 1;
        self.ledger.acknowledgeable += 1;
        self.client_writes(&format!("PUB nobody inbox.{number} 0\r\n\r\n"));
    }

    pub(super) fn read_as_client(&mut self) {
        loop {
            // Whole messages only: a payload is looked at in one piece.
            let mut parser = self.client_parser;
            let Step::Line { op, length } = parser.next(&self.from_session).unwrap() else {
                return;
            };
            let mut used = length;
            match op {
                ServerOp::Message {
                    headers: true,
                    size,
                    ..
                } => {
                    used = length + usize::try_from(size).unwrap() + 2;
                    if self.from_session.len() < used {
                        return;
                    }
                    self.ledger.unanswerable += 1;
                }
                ServerOp::Message { sid, size, .. } => {
                    let sid = String::from_utf8(sid.to_vec()).unwrap();
                    let end = length + usize::try_from(size).unwrap() + 2;
                    if self.from_session.len() < end {
                        return;
                    }
                    let line = String::from_utf8(self.from_session[..end].to_vec()).unwrap();
                    let mut words = line.split_ascii_whitespace();
                    let subject = words.nth(1).unwrap().to_owned();
                    let number = words.nth(2).unwrap().parse().unwrap();
                    self.ledger
                        .received
                        .entry(sid)
                        .or_default()
                        .push((subject, number));
                    used = end;
                }
                ServerOp::Pong => self.ledger.pongs += 1,
                ServerOp::Ok => self.ledger.acknowledgements += 1,
                ServerOp::Info(_) => self.ledger.infos += 1,
                ServerOp::Error(text) => self
                    .ledger
                    .errors
                    .push(String::from_utf8(text.to_vec()).unwrap()),
                ServerOp::Ping => self.client_writes("PONG\r\n"),
            }
            self.from_session.drain(..used);
        }
    }
}
