//! What nats-server takes for a subject to subscribe to.

/// Whether there will be a subscription: to any other subject nats-server says `Invalid Subject`, and goes on
/// (`Sublist.Insert`).
pub(crate) fn is_subject(subject: &[u8]) -> bool {
    let mut tokens = subject.split(|byte| *byte == b'.');
    let last = tokens.next_back().unwrap_or_default();
    // `>` stands for all that follows, so nothing can.
    !last.is_empty() && tokens.all(|token| !token.is_empty() && token != b">")
}
