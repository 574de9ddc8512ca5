//! Where control lines and payloads begin and end, which is the same in both directions.

use memchr::memchr;

use super::verb::{Found, Verb, find};
use super::{ParseLimits, ProtocolError};

/// The bytes at the front of a buffer, before their meaning is looked at.
pub(super) enum Piece<'a, Kind> {
    More,
    Line {
        kind: Kind,
        arguments: &'a [u8],
        length: usize,
    },
    Payload {
        length: usize,
        last: bool,
    },
}

/// All that a parser remembers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) limits: ParseLimits,
    /// Bytes of the announced payload to come, its line end included; 0 between operations.
    left: u64,
}

impl Framing {
    pub(super) const fn new(limits: ParseLimits) -> Self {
        Self { limits, left: 0 }
    }

    pub(super) const fn at_boundary(&self) -> bool {
        self.left == 0
    }

    #[inline]
    pub(super) fn next<'a, Kind: Copy>(
        &mut self,
        verbs: &[Verb<Kind>],
        unread: &'a [u8],
    ) -> Result<Piece<'a, Kind>, ProtocolError> {
        if self.left > 0 && !unread.is_empty() {
            let (length, last) = self.payload(unread)?;
            return Ok(Piece::Payload { length, last });
        }
        let Some(end) = memchr(b'\n', unread) else {
            self.incomplete(verbs, unread)?;
            return Ok(Piece::More);
        };
        let line = unread.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Found::Verb(kind, arguments) = find(verbs, line, true) else {
            return Err(ProtocolError::UnknownOperation);
        };
        self.within_limit(arguments)?;
        Ok(Piece::Line {
            kind,
            arguments,
            length: end + 1,
        })
    }

    /// A control line said that `size` bytes and a line end follow.
    #[inline]
    pub(super) fn announce(&mut self, size: u64) -> Result<(), ProtocolError> {
        let limit = self.limits.max_payload;
        if size > limit {
            return Err(ProtocolError::PayloadTooLarge { size, limit });
        }
        self.left = size.saturating_add(2);
        Ok(())
    }

    /// How many of the bytes belong to the payload, and whether that completes it.
    #[inline]
    fn payload(&mut self, unread: &[u8]) -> Result<(usize, bool), ProtocolError> {
        let length = usize::try_from(self.left).map_or(unread.len(), |left| left.min(unread.len()));
        let taken = unread.get(..length).unwrap_or_default();
        let left = self.left.saturating_sub(length as u64);
        // A line feed alone does not end a payload, unlike a control line.
        let terminated = match left {
            0 if length == 1 => taken == b"\n",
            0 => taken.ends_with(b"\r\n"),
            1 => taken.ends_with(b"\r"),
            _ => true,
        };
        if !terminated {
            return Err(ProtocolError::PayloadNotTerminated);
        }
        self.left = left;
        Ok((length, left == 0))
    }

    /// A line without an end: junk is known by its first bytes already, and so is a line that is
    /// too long.
    #[cold]
    fn incomplete<Kind: Copy>(
        &self,
        verbs: &[Verb<Kind>],
        line: &[u8],
    ) -> Result<(), ProtocolError> {
        match find(verbs, line, false) {
            Found::Unknown => Err(ProtocolError::UnknownOperation),
            Found::Partial => Ok(()),
            Found::Verb(_, arguments) => {
                self.within_limit(arguments.strip_suffix(b"\r").unwrap_or(arguments))
            }
        }
    }

    #[inline]
    fn within_limit(&self, arguments: &[u8]) -> Result<(), ProtocolError> {
        let limit = self.limits.control_line;
        if arguments.len() > limit {
            return Err(ProtocolError::ControlLineTooLong { limit });
        }
        Ok(())
    }
}
