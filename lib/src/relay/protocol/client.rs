//! What a client sends: operations out of its bytes.

use std::fmt;

use super::arguments::{size, size_with_headers, words};
use super::framing::{Framing, Piece};
use super::verb::Verb;
use super::{ParseLimits, ProtocolError, Step};

/// One operation of a client. All slices borrow from the buffer that was shown to the parser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientOp<'a> {
    /// The JSON behind CONNECT, not looked into.
    Connect(&'a [u8]),
    Ping,
    Pong,
    /// PUB or HPUB; `size` counts the headers too.
    Publish {
        headers: bool,
        size: u64,
    },
    Subscribe {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    /// `max` is the number of messages after which the subscription ends, counted from its
    /// beginning; without one, or with one that is no number above 0, it ends now.
    Unsubscribe {
        sid: &'a [u8],
        max: Option<u64>,
    },
    /// `+OK` or INFO: nats-server reads them and does nothing.
    Other,
}

/// Without the credentials that CONNECT holds.
impl fmt::Debug for ClientOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match self {
            Self::Connect(_) => write!(f, "CONNECT …"),
            Self::Ping => write!(f, "PING"),
            Self::Pong => write!(f, "PONG"),
            Self::Publish { headers, size } => {
                write!(f, "{} {size}", if *headers { "HPUB" } else { "PUB" })
            }
            Self::Subscribe {
                subject,
                queue,
                sid,
            } => {
                let queue = queue.map(text);
                write!(f, "SUB {} {queue:?} {}", text(subject), text(sid))
            }
            Self::Unsubscribe { sid, max } => write!(f, "UNSUB {} {max:?}", text(sid)),
            Self::Other => write!(f, "other"),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Publish { headers: bool },
    Subscribe,
    Unsubscribe,
    Ping,
    Pong,
    Connect,
    Ok,
    Info,
    Error,
}

/// The frequent ones first.
const VERBS: [Verb<Kind>; 10] = [
    Verb::new(b"pub", true, Kind::Publish { headers: false }),
    Verb::new(b"hpub", true, Kind::Publish { headers: true }),
    Verb::new(b"sub", true, Kind::Subscribe),
    Verb::new(b"unsub", true, Kind::Unsubscribe),
    Verb::new(b"ping", false, Kind::Ping),
    Verb::new(b"pong", false, Kind::Pong),
    Verb::new(b"connect", false, Kind::Connect),
    Verb::new(b"+ok", false, Kind::Ok),
    Verb::new(b"info", false, Kind::Info),
    Verb::new(b"-err", true, Kind::Error),
];

/// Parses what one client sends, from the beginning of its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientParser {
    framing: Framing,
    headers: bool,
}

impl ClientParser {
    pub(crate) fn new(limits: ParseLimits) -> Self {
        Self {
            framing: Framing::new(limits),
            headers: true,
        }
    }

    /// What the server's INFO says, from the next operation on.
    pub(crate) fn set_max_payload(&mut self, bytes: u64) {
        self.framing.limits.max_payload = bytes;
    }

    /// Whether both ends said that they use headers; if not, nats-server refuses HPUB. Until then
    /// they are allowed.
    pub(crate) fn set_headers(&mut self, negotiated: bool) {
        self.headers = negotiated;
    }

    /// Between two operations: what comes next may go another way.
    pub(crate) fn at_boundary(&self) -> bool {
        self.framing.at_boundary()
    }

    /// What the first of the unread bytes are. The caller has dealt with them when it asks again,
    /// unless the answer was [`Step::More`].
    pub(crate) fn next<'a>(
        &mut self,
        unread: &'a [u8],
    ) -> Result<Step<ClientOp<'a>>, ProtocolError> {
        Ok(match self.framing.next(&VERBS, unread)? {
            Piece::More => Step::More,
            Piece::Payload { length, last } => Step::Payload { length, last },
            Piece::Line {
                kind,
                arguments,
                length,
            } => {
                let op = self.operation(kind, arguments)?;
                if let ClientOp::Publish { size, .. } = op {
                    self.framing.announce(size)?;
                }
                Step::Line { op, length }
            }
        })
    }

    fn operation<'a>(
        &self,
        kind: Kind,
        arguments: &'a [u8],
    ) -> Result<ClientOp<'a>, ProtocolError> {
        match kind {
            Kind::Publish { headers: true } if !self.headers => {
                return Err(ProtocolError::HeadersNotNegotiated);
            }
            Kind::Publish { headers } => {
                let size = published(headers, arguments);
                let size = size.ok_or(if headers { "HPUB" } else { "PUB" });
                size.map(|size| ClientOp::Publish { headers, size })
            }
            Kind::Subscribe => subscription(arguments).ok_or("SUB"),
            Kind::Unsubscribe => end_of_subscription(arguments).ok_or("UNSUB"),
            Kind::Ping => Ok(ClientOp::Ping),
            Kind::Pong => Ok(ClientOp::Pong),
            Kind::Connect => connect(arguments).ok_or("CONNECT"),
            Kind::Ok | Kind::Info => Ok(ClientOp::Other),
            Kind::Error => return Err(ProtocolError::ClientGaveUp),
        }
        .map_err(|operation| ProtocolError::BadArguments { operation })
    }
}

/// `subject [reply] size`, with headers `subject [reply] header-size size`.
fn published(headers: bool, arguments: &[u8]) -> Option<u64> {
    if headers {
        match words::<4>(arguments)? {
            ([_, _, headers, total], 4) | ([_, headers, total, _], 3) => {
                size_with_headers(headers, total)
            }
            _ => None,
        }
    } else {
        match words::<3>(arguments)? {
            ([_, _, total], 3) | ([_, total, _], 2) => size(total),
            _ => None,
        }
    }
}

/// `subject [queue] sid`.
fn subscription(arguments: &[u8]) -> Option<ClientOp<'_>> {
    let (subject, queue, sid) = match words::<3>(arguments)? {
        ([subject, queue, sid], 3) => (subject, Some(queue), sid),
        ([subject, sid, _], 2) => (subject, None, sid),
        _ => return None,
    };
    Some(ClientOp::Subscribe {
        subject,
        queue,
        sid,
    })
}

/// `sid [max]`. nats-server takes a maximum that is no number for none.
fn end_of_subscription(arguments: &[u8]) -> Option<ClientOp<'_>> {
    let (sid, max) = match words::<2>(arguments)? {
        ([sid, max], 2) => (sid, size(max).filter(|max| *max > 0)),
        ([sid, _], 1) => (sid, None),
        _ => return None,
    };
    Some(ClientOp::Unsubscribe { sid, max })
}

fn connect(arguments: &[u8]) -> Option<ClientOp<'_>> {
    let json = arguments.trim_ascii();
    // A carriage return between JSON's words is a blank to JSON and not to nats-server.
    (!json.is_empty() && !json.contains(&b'\r')).then_some(ClientOp::Connect(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &[u8]) -> Result<Step<ClientOp<'_>>, ProtocolError> {
        ClientParser::new(ParseLimits::client()).next(line)
    }

    fn op(line: &str) -> ClientOp<'_> {
        match one(line.as_bytes()) {
            Ok(Step::Line { op, length }) if length == line.len() => op,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn every_operation() {
        assert_eq!(op("PING\r\n"), ClientOp::Ping);
        assert_eq!(op("pong\n"), ClientOp::Pong);
        assert_eq!(op("PinG anything\n"), ClientOp::Ping);
        assert_eq!(op("+OK\r\n"), ClientOp::Other);
        assert_eq!(op("INFO {}\r\n"), ClientOp::Other);
        assert_eq!(
            op("CONNECT {\"a\":1} \r\n"),
            ClientOp::Connect(b"{\"a\":1}")
        );
        assert_eq!(op("connect{}\n"), ClientOp::Connect(b"{}"));
        let publish = |headers, size| ClientOp::Publish { headers, size };
        assert_eq!(op("PUB a 5\r\n"), publish(false, 5));
        assert_eq!(op("pub\ta  reply\t000000005 \n"), publish(false, 5));
        assert_eq!(op("HPUB a 12 12\r\n"), publish(true, 12));
        assert_eq!(op("HPUB a reply 0 12\r\n"), publish(true, 12));
        let subscribe = |queue| ClientOp::Subscribe {
            subject: b"a.*",
            queue,
            sid: b"s1",
        };
        assert_eq!(op("SUB a.* s1\r\n"), subscribe(None));
        assert_eq!(op("sub \t a.* group s1\r\n"), subscribe(Some(b"group")));
        let unsubscribe = |max| ClientOp::Unsubscribe { sid: b"s1", max };
        assert_eq!(op("UNSUB s1\r\n"), unsubscribe(None));
        assert_eq!(op("UNSUB s1 7\r\n"), unsubscribe(Some(7)));
        assert_eq!(op("UNSUB s1 0\r\n"), unsubscribe(None));
        assert_eq!(op("UNSUB s1 -1\r\n"), unsubscribe(None));
    }

    #[test]
    fn what_is_no_operation_is_an_error() {
        let bad = |operation| Err(ProtocolError::BadArguments { operation });
        assert_eq!(one(b"CONNECT \r\n"), bad("CONNECT"));
        assert_eq!(one(b"connect\n"), bad("CONNECT"));
        assert_eq!(one(b"HPUB a 6 5\r\n"), bad("HPUB"));
        assert_eq!(one(b"-ERR ''\r\n"), Err(ProtocolError::ClientGaveUp));
        let mut parser = ClientParser::new(ParseLimits::client());
        parser.set_max_payload(4);
        let (size, limit) = (5, 4);
        let too_large = Err(ProtocolError::PayloadTooLarge { size, limit });
        assert_eq!(parser.next(b"PUB a 5\r\n"), too_large);
        parser.set_headers(false);
        let refused = Err(ProtocolError::HeadersNotNegotiated);
        assert_eq!(parser.next(b"HPUB a 0 1\r\n"), refused);
        parser.set_headers(true);
        assert!(parser.next(b"HPUB a 0 1\r\n").is_ok());
    }

    #[test]
    fn a_payload_is_announced_and_ends_the_operation() {
        let mut parser = ClientParser::new(ParseLimits::client());
        let bytes = b"PUB a 3\r\nx\r\n\r\nPING\r\n";
        let mut steps = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            match parser.next(&bytes[at..]).unwrap() {
                Step::More => panic!("nothing is missing"),
                Step::Line { length, .. } => at += length,
                Step::Payload { length, .. } => at += length,
            }
            steps.push((at, parser.at_boundary()));
        }
        assert_eq!(steps, [(9, false), (14, true), (20, true)]);
    }
}
