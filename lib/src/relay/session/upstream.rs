//! What the servers send: to the client, matched with its twin, kept, or for the relay alone.

mod current;
mod next;

use std::time::Instant;

use super::interest::Key;
use super::link::{Fate, Held};
use super::{Event, Link, Session, UpstreamError, Verdict, Welcome};
use crate::relay::protocol::{self, ServerInfo};

/// As much may a server promise: more than nats-server's own limit for what waits for a client makes no sense.
const LARGEST_PROMISE: u64 = 64 * 1024 * 1024;
/// In front of a payload.
const LONGEST_LINE: u64 = 64 * 1024;

impl Session {
    /// Judges the first of the unread bytes of an upstream connection. Nothing of the next connection is ever passed on
    /// directly.
    ///
    /// # Errors
    /// [`UpstreamError`]: the connection is of no use any more.
    pub(crate) fn handle_upstream(
        &mut self,
        link: Link,
        unread: &[u8],
        now: Instant,
    ) -> Result<Verdict, UpstreamError> {
        match link {
            Link::Current => self.handle_current(unread, now),
            Link::Next => self.handle_next(unread, now),
        }
    }

    pub(super) fn flush_deferred(&mut self) {
        if !self.deferred.is_empty() {
            let deferred = std::mem::take(&mut self.deferred);
            self.transmit.client.extend_from_slice(&deferred);
        }
    }

    /// For a message that is judged once it is whole.
    pub(super) fn hold(&self, key: Key, line: &[u8]) -> Fate {
        let promised = self.max_payload.min(LARGEST_PROMISE) + LONGEST_LINE;
        let promised = usize::try_from(promised).unwrap_or(usize::MAX);
        let mut held = Held::new(key, self.settings.pending_bytes.max(promised));
        held.push(line);
        Fate::Hold(Box::new(held))
    }

    /// Gives the client a whole frame that was kept, unless its subscription has ended.
    pub(super) fn deliver_kept(&mut self, key: Key, frame: &[u8]) {
        let Some(sid) = self.interest.get(key).map(|known| known.sid().clone()) else {
            return;
        };
        if self.deliver(key, sid.bytes()) {
            self.deferred.extend_from_slice(frame);
        }
        if self.client_is_between_frames() {
            self.flush_deferred();
        }
    }

    /// Counts a message for the client, and ends at the servers what ends with it; whether the client may have it.
    pub(super) fn deliver(&mut self, key: Key, sid: &[u8]) -> bool {
        let delivery = self.interest.deliver(key);
        if delivery.ends {
            self.current.refusals.blur();
        }
        if delivery.ends_on_current {
            self.unsubscribe_current(sid);
        }
        if delivery.ends_on_next {
            self.unsubscribe_next(sid, None);
        }
        !delivery.surplus
    }

    /// A PING of the client is answered: what it may know only now comes behind the PONG.
    pub(super) fn welcomed(&mut self) {
        if let Welcome::Pending { info } = &mut self.client.welcome {
            self.deferred.append(info);
            self.client.welcome = Welcome::Over;
        }
    }

    /// Tells the client what the server it is connected to says of itself.
    pub(super) fn tell_info(&mut self, json: &[u8]) -> Result<(), UpstreamError> {
        let info = ServerInfo::parse(json)?;
        let line = protocol::rewrite_info(json, &self.settings.info)?;
        let headers = self.client.options.headers && info.headers;
        self.client.parser.set_max_payload(info.max_payload);
        self.max_payload = info.max_payload;
        self.latest_info = Some(json.into());
        self.client.parser.set_headers(headers);
        if self.client.options.understands_info {
            match &mut self.client.welcome {
                Welcome::Pending { info } => *info = line,
                Welcome::Over => self.deferred.extend_from_slice(&line),
            }
        }
        if self.client_is_between_frames() {
            self.flush_deferred();
        }
        if info.lame_duck {
            self.events.push_back(Event::LameDuck);
        }
        Ok(())
    }
}
