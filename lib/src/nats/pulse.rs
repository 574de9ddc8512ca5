//! The only sign that a client gave up: it does not take commands any more.

use std::future::Future;
use std::pin::Pin;

use async_nats::Client;
use async_nats::client::FlushErrorKind;

/// Whether the client still takes commands. A client that gave up sends no event for it; only a
/// closed command channel shows. Without a limit, so that at most one such command waits in the
/// channel during an outage.
pub(crate) fn pulse(client: Client) -> Pin<Box<dyn Future<Output = bool> + Send>> {
    Box::pin(async move {
        match client.flush().await {
            Ok(()) => true,
            Err(error) => error.kind() != FlushErrorKind::SendError,
        }
    })
}
