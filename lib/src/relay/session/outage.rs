//! Between two upstream connections with nothing in between: the server is gone, the client stays and waits.

use std::time::Instant;

use super::link::LinkState;
use super::pings::Owner;
use super::{Link, Session, UpstreamError};

/// What the loss of an upstream connection means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was the next one: the current one goes on.
    Harmless,
    /// The client waits for another connection; see [`Session::restore`].
    Outage,
    /// The client has the beginning of something that will never end: its connection must be closed.
    Fatal,
}

impl Session {
    /// An upstream connection is lost.
    pub(crate) fn handle_upstream_lost(&mut self, link: Link, now: Instant) -> Loss {
        if link == Link::Next {
            self.next_is_lost(now);
            return Loss::Harmless;
        }
        let has_half_a_frame = !self.client_is_between_frames();
        // Its acknowledgements cannot be made up for operations that may never have arrived.
        let goes_on =
            self.handover_without_current() && !has_half_a_frame && !self.client.options.verbose;
        if !goes_on {
            return Loss::Fatal;
        }
        self.outage = true;
        self.client.discards = !self.client.parser.at_boundary();
        self.client.injected.clear();
        self.transmit.current.clear();
        let pings = std::mem::take(&mut self.current.pings);
        self.current = LinkState::new();
        self.current.pings = pings;
        Loss::Outage
    }

    /// A new connection, whose CONNECT was accepted and whose server said `info`, takes the place of the lost one: it
    /// learns of every subscription, and of the PINGs the client waits for.
    ///
    /// # Errors
    /// [`UpstreamError`] if its INFO cannot be read; the outage goes on.
    pub(crate) fn restore(&mut self, info: &[u8]) -> Result<(), UpstreamError> {
        self.tell_info(info)?;
        let waiting = self.current.pings.of_client();
        self.current = LinkState::new();
        self.interest.replay(&mut self.transmit.current);
        for _ in 0..waiting {
            self.current.pings.sent(Owner::Client, self.written());
            self.transmit.current.extend_from_slice(b"PING\r\n");
        }
        self.outage = false;
        Ok(())
    }

    /// Whether the client waits for an upstream connection.
    pub(crate) fn is_in_outage(&self) -> bool {
        self.outage
    }
}
