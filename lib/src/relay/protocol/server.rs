//! What nats-server sends: operations out of its bytes.

use super::arguments::{size, size_with_headers, words};
use super::framing::{Framing, Piece};
use super::verb::Verb;
use super::{ParseLimits, ProtocolError, Step};

/// One operation of a server. All slices borrow from the buffer that was shown to the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerOp<'a> {
    /// The JSON behind INFO, not looked into.
    Info(&'a [u8]),
    /// MSG or HMSG; `size` counts the headers too.
    Message {
        sid: &'a [u8],
        headers: bool,
        size: u64,
    },
    Ping,
    Pong,
    Ok,
    /// The text of `-ERR`, without its quotes.
    Error(&'a [u8]),
}

#[derive(Clone, Copy)]
enum Kind {
    Message { headers: bool },
    Ping,
    Pong,
    Ok,
    Info,
    Error,
}

/// The frequent ones first.
const VERBS: [Verb<Kind>; 7] = [
    Verb::new(b"msg", true, Kind::Message { headers: false }),
    Verb::new(b"hmsg", true, Kind::Message { headers: true }),
    Verb::new(b"+ok", false, Kind::Ok),
    Verb::new(b"pong", false, Kind::Pong),
    Verb::new(b"ping", false, Kind::Ping),
    Verb::new(b"info", true, Kind::Info),
    Verb::new(b"-err", true, Kind::Error),
];

/// Parses what a server sends on one connection, from its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerParser {
    framing: Framing,
}

impl ServerParser {
    /// INFO's `max_payload` is no limit here: it binds those who publish.
    pub(crate) fn new(limits: ParseLimits) -> Self {
        Self {
            framing: Framing::new(limits),
        }
    }

    /// Between two operations: what comes next may come from elsewhere.
    pub(crate) fn at_boundary(&self) -> bool {
        self.framing.at_boundary()
    }

    /// What the first of the unread bytes are. The caller has dealt with them when it asks again,
    /// unless the answer was [`Step::More`].
    pub(crate) fn next<'a>(
        &mut self,
        unread: &'a [u8],
    ) -> Result<Step<ServerOp<'a>>, ProtocolError> {
        Ok(match self.framing.next(&VERBS, unread)? {
            Piece::More => Step::More,
            Piece::Payload { length, last } => Step::Payload { length, last },
            Piece::Line {
                kind,
                arguments,
                length,
            } => {
                let op = operation(kind, arguments)?;
                if let ServerOp::Message { size, .. } = op {
                    self.framing.announce(size)?;
                }
                Step::Line { op, length }
            }
        })
    }
}

fn operation(kind: Kind, arguments: &[u8]) -> Result<ServerOp<'_>, ProtocolError> {
    match kind {
        Kind::Message { headers: false } => message(arguments).ok_or("MSG"),
        Kind::Message { headers: true } => message_with_headers(arguments).ok_or("HMSG"),
        Kind::Ping => Ok(ServerOp::Ping),
        Kind::Pong => Ok(ServerOp::Pong),
        Kind::Ok => Ok(ServerOp::Ok),
        Kind::Info => Ok(ServerOp::Info(arguments.trim_ascii())),
        Kind::Error => Ok(ServerOp::Error(unquoted(arguments.trim_ascii()))),
    }
    .map_err(|operation| ProtocolError::BadArguments { operation })
}

/// `subject sid [reply] size`.
fn message(arguments: &[u8]) -> Option<ServerOp<'_>> {
    let (sid, total) = match words::<4>(arguments)? {
        ([_, sid, _, total], 4) | ([_, sid, total, _], 3) => (sid, total),
        _ => return None,
    };
    Some(ServerOp::Message {
        sid,
        headers: false,
        size: size(total)?,
    })
}

/// `subject sid [reply] header-size size`.
fn message_with_headers(arguments: &[u8]) -> Option<ServerOp<'_>> {
    let (sid, headers, total) = match words::<5>(arguments)? {
        ([_, sid, _, headers, total], 5) | ([_, sid, headers, total, _], 4) => {
            (sid, headers, total)
        }
        _ => return None,
    };
    Some(ServerOp::Message {
        sid,
        headers: true,
        size: size_with_headers(headers, total)?,
    })
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'")
        .and_then(|text| text.strip_suffix(b"'"))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(line: &str) -> ServerOp<'_> {
        match ServerParser::new(ParseLimits::server()).next(line.as_bytes()) {
            Ok(Step::Line { op, length }) if length == line.len() => op,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn every_operation() {
        assert_eq!(op("PING\r\n"), ServerOp::Ping);
        assert_eq!(op("PONG\r\n"), ServerOp::Pong);
        assert_eq!(op("+OK\r\n"), ServerOp::Ok);
        assert_eq!(op("INFO {\"a\":1} \r\n"), ServerOp::Info(b"{\"a\":1}"));
        assert_eq!(
            op("-ERR 'Unknown Protocol Operation'\r\n"),
            ServerOp::Error(b"Unknown Protocol Operation")
        );
        assert_eq!(op("-err it's bad\n"), ServerOp::Error(b"it's bad"));
        let message = |headers, size| ServerOp::Message {
            sid: b"s1",
            headers,
            size,
        };
        assert_eq!(op("MSG a s1 5\r\n"), message(false, 5));
        assert_eq!(op("msg a s1 reply 0\r\n"), message(false, 0));
        assert_eq!(op("HMSG a s1 12 14\r\n"), message(true, 14));
        assert_eq!(op("HMSG a s1 reply 12 14\r\n"), message(true, 14));
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        fn one(line: &[u8]) -> Result<Step<ServerOp<'_>>, ProtocolError> {
            ServerParser::new(ParseLimits::server()).next(line)
        }
        let bad = |operation| Err(ProtocolError::BadArguments { operation });
        for line in [
            "MSG a 5",
            "MSG a s r x 5",
            "MSG a s -1",
            "MSG a s 1000000000",
            "MSG a s\r1 5",
        ] {
            assert_eq!(one(format!("{line}\r\n").as_bytes()), bad("MSG"), "{line}");
        }
        for line in [
            "HMSG a s 5",
            "HMSG a s 6 5",
            "HMSG a s r x 1 5",
            "HMSG a s 1 x",
        ] {
            assert_eq!(one(format!("{line}\r\n").as_bytes()), bad("HMSG"), "{line}");
        }
        for line in [
            "PUB a 1\r\n",
            "RMSG a",
            "INFO\r\n",
            "INFO{}\r\n",
            "\x16\x03\x01",
            "HTTP/1.1 400",
        ] {
            assert_eq!(
                one(line.as_bytes()),
                Err(ProtocolError::UnknownOperation),
                "{line}"
            );
        }
        let limit = ParseLimits::server().control_line;
        let endless = format!("INFO {{\"a\":\"{}", "x".repeat(limit));
        let too_long = Err(ProtocolError::ControlLineTooLong { limit });
        assert_eq!(one(endless.as_bytes()), too_long);
        assert_eq!(one(&endless.as_bytes()[..limit]), Ok(Step::More));
    }
}
