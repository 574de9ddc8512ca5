//! What is wrong with the bytes of a peer, and what nats-server would say to it.

/// Bytes that are not the NATS protocol, or ask for more than is allowed. The connection cannot be
/// used further: where the next operation begins is unknown. Whom to blame is known by whose parser
/// said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// No line end within the limit.
    #[error(
        "a control line is longer than {limit} bytes; if that is wanted, raise the limit here and max_control_line of the server"
    )]
    ControlLineTooLong { limit: usize },
    /// The line does not begin with an operation that this peer may send.
    #[error("this is not an operation of the NATS client protocol")]
    UnknownOperation,
    /// The operation is known, what stands behind it is not of its form.
    #[error("the arguments of {operation} are not of its form")]
    BadArguments { operation: &'static str },
    /// A payload longer than the server allows, or than can be announced.
    #[error("a payload of {size} bytes is announced and {limit} are allowed (max_payload)")]
    PayloadTooLarge { size: u64, limit: u64 },
    /// No line end where the announced payload ends.
    #[error("a payload is not followed by a line end: its announced size is wrong")]
    PayloadNotTerminated,
    /// Headers from a client whose CONNECT said that it has none.
    #[error("HPUB, but CONNECT did not say that the client uses headers")]
    HeadersNotNegotiated,
    /// The client sent `-ERR`, upon which nats-server closes the connection.
    #[error("the client gave up with -ERR")]
    ClientGaveUp,
}

impl ProtocolError {
    /// The text for `-ERR '…'` before the connection is closed: nats-server's own where it has one.
    /// Where nats-server closes without a word, `Parser Error`, which the protocol's documentation
    /// has for it.
    pub(crate) const fn answer(&self) -> &'static str {
        match self {
            Self::ControlLineTooLong { .. } => "maximum control line exceeded",
            Self::UnknownOperation | Self::PayloadNotTerminated => "Unknown Protocol Operation",
            Self::PayloadTooLarge { .. } => "Maximum Payload Violation",
            Self::BadArguments { .. } | Self::HeadersNotNegotiated | Self::ClientGaveUp => {
                "Parser Error"
            }
        }
    }
}
