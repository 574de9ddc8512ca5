//! The payload behind a control line: how much of it is still to come, and that it ends where it
//! was announced to.

use super::error::ProtocolError;

/// A payload that was announced and not seen in full. The whole memory of a parser.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Payload {
    /// Bytes to come, the line end included; 0 between operations.
    left: u64,
}

impl Payload {
    /// A control line said that `size` bytes and a line end follow.
    pub(super) fn announce(&mut self, size: u64) {
        self.left = size.saturating_add(2);
    }

    pub(super) const fn is_complete(self) -> bool {
        self.left == 0
    }

    /// How many of the bytes belong to the payload, and whether that completes it.
    pub(super) fn take(&mut self, unread: &[u8]) -> Result<(usize, bool), ProtocolError> {
        let length = usize::try_from(self.left).map_or(unread.len(), |left| left.min(unread.len()));
        let taken = unread.get(..length).unwrap_or_default();
        let left = self.left.saturating_sub(length as u64);
        // A line feed alone does not end a payload, unlike a control line.
        let terminated = match left {
            0 if length == 1 => taken == b"\n",
            0 => taken.ends_with(b"\r\n"),
            1 if length > 0 => taken.ends_with(b"\r"),
            _ => true,
        };
        if !terminated {
            return Err(ProtocolError::PayloadNotTerminated);
        }
        self.left = left;
        Ok((length, left == 0))
    }
}
