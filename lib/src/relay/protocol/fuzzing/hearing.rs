//! A parser driven the way the relay drives it, with bytes that arrive in pieces.

use super::super::{ClientOp, ClientParser, ProtocolError, ServerParser, Step};

/// What a parser made of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Heard {
    /// Each operation and each complete payload.
    pub(in super::super) operations: Vec<String>,
    pub(in super::super) error: Option<ProtocolError>,
    /// How many bytes went on. With an error the last pieces of an unfinished payload may have gone
    /// or not, so it says nothing then.
    pub(in super::super) forwarded: Option<usize>,
    pub(in super::super) at_boundary: bool,
}

/// Both parsers, for what is the same with either.
pub(in super::super) trait Parser {
    fn next(&mut self, unread: &[u8]) -> Result<Step<String>, ProtocolError>;
    fn at_boundary(&self) -> bool;
}

impl Parser for ClientParser {
    fn next(&mut self, unread: &[u8]) -> Result<Step<String>, ProtocolError> {
        Ok(match self.next(unread)? {
            Step::More => Step::More,
            Step::Payload { length, last } => Step::Payload { length, last },
            // Its own Debug keeps the credentials to itself.
            Step::Line {
                op: ClientOp::Connect(json),
                length,
            } => Step::Line {
                op: format!("CONNECT {}", json.escape_ascii()),
                length,
            },
            Step::Line { op, length } => Step::Line {
                op: format!("{op:?}"),
                length,
            },
        })
    }

    fn at_boundary(&self) -> bool {
        self.at_boundary()
    }
}

impl Parser for ServerParser {
    fn next(&mut self, unread: &[u8]) -> Result<Step<String>, ProtocolError> {
        Ok(match self.next(unread)? {
            Step::More => Step::More,
            Step::Payload { length, last } => Step::Payload { length, last },
            Step::Line { op, length } => Step::Line {
                op: format!("{op:?}"),
                length,
            },
        })
    }

    fn at_boundary(&self) -> bool {
        self.at_boundary()
    }
}

/// Shows the bytes to the parser, `pieces` at a time, until it has all of them or refuses one.
pub(in super::super) fn hear(
    mut parser: impl Parser,
    bytes: &[u8],
    pieces: impl IntoIterator<Item = usize>,
) -> Heard {
    let mut operations = Vec::new();
    let (mut forwarded, mut arrived, mut payload) = (0, 0, 0);
    let mut error = None;
    'arriving: for piece in pieces {
        arrived = bytes.len().min(arrived + piece);
        loop {
            let unread = bytes.get(forwarded..arrived).unwrap_or_default();
            let length = match parser.next(unread) {
                Ok(Step::More) => break,
                Ok(Step::Line { op, length }) => {
                    assert!(
                        unread
                            .get(..length)
                            .is_some_and(|line| line.ends_with(b"\n"))
                    );
                    operations.push(op);
                    payload = forwarded + length;
                    length
                }
                Ok(Step::Payload { length, last }) => {
                    assert!(0 < length && length <= unread.len() && last == parser.at_boundary());
                    if last {
                        let whole = bytes.get(payload..forwarded + length).unwrap_or_default();
                        assert!(whole.ends_with(b"\r\n"));
                        operations.push(whole.escape_ascii().to_string());
                    }
                    length
                }
                Err(refused) => {
                    error = Some(refused);
                    break 'arriving;
                }
            };
            forwarded += length;
        }
        if arrived == bytes.len() {
            break;
        }
    }
    Heard {
        operations,
        error,
        forwarded: error.is_none().then_some(forwarded),
        at_boundary: parser.at_boundary(),
    }
}
