//! A session spoken to by hand, line by line, by a shell that does what the contract says and no more.

use std::time::Instant;

use super::simulation::INFO;
use crate::relay::protocol::ServerInfo;
use crate::relay::session::{
    ClientError, ClientOptions, Event, Link, Move, Session, SessionSettings, Side, UpstreamError,
};

/// Neither verbose nor deaf to itself.
pub(super) const PLAIN: ClientOptions = ClientOptions {
    verbose: false,
    echo: true,
    understands_info: true,
    headers: true,
};

pub(super) const WITHOUT_ECHO: ClientOptions = ClientOptions {
    echo: false,
    ..PLAIN
};

pub(super) struct Script {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
    info: Vec<u8>,
    from_client: Vec<u8>,
    from_current: Vec<u8>,
    from_next: Vec<u8>,
    to_client: Vec<u8>,
    to_current: Vec<u8>,
    to_next: Vec<u8>,
}

impl Script {
    pub(super) fn new(settings: SessionSettings, options: ClientOptions) -> Self {
        Self::told(INFO, settings, options)
    }

    /// With another INFO of the server.
    pub(super) fn told(info: &[u8], settings: SessionSettings, options: ClientOptions) -> Self {
        Self {
            session: Session::new(settings, options, &ServerInfo::parse(info).unwrap()),
            info: info.to_vec(),
            now: Instant::now(),
            events: Vec::new(),
            from_client: Vec::new(),
            from_current: Vec::new(),
            from_next: Vec::new(),
            to_client: Vec::new(),
            to_current: Vec::new(),
            to_next: Vec::new(),
        }
    }

    /// The client says more. What is not judged yet is judged with what it says next.
    pub(super) fn client(&mut self, says: impl AsRef<[u8]>) -> Result<(), ClientError> {
        self.from_client.extend_from_slice(says.as_ref());
        loop {
            let verdict = self.session.handle_client(&self.from_client, self.now)?;
            let forwarded = self.from_client.drain(..verdict.forward);
            self.to_current.extend(forwarded);
            self.from_client.drain(..verdict.skip);
            self.settle();
            if verdict.is_empty() {
                return Ok(());
            }
        }
    }

    /// A server says more.
    pub(super) fn server(
        &mut self,
        link: Link,
        says: impl AsRef<[u8]>,
    ) -> Result<(), UpstreamError> {
        self.unread(link).extend_from_slice(says.as_ref());
        loop {
            let unread = std::mem::take(self.unread(link));
            let judged = self.session.handle_upstream(link, &unread, self.now);
            let (forward, skip, is_empty) = match &judged {
                Ok(verdict) => (verdict.forward, verdict.skip, verdict.is_empty()),
                Err(_) => (0, 0, true),
            };
            self.to_client.extend_from_slice(&unread[..forward]);
            *self.unread(link) = unread[forward + skip..].to_vec();
            let is_same = !self.settle();
            judged?;
            if is_empty || !is_same {
                return Ok(());
            }
        }
    }

    pub(super) fn current(&mut self, says: impl AsRef<[u8]>) {
        self.server(Link::Current, says).unwrap();
    }

    pub(super) fn next(&mut self, says: impl AsRef<[u8]>) {
        self.server(Link::Next, says).unwrap();
    }

    fn unread(&mut self, link: Link) -> &mut Vec<u8> {
        match link {
            Link::Current => &mut self.from_current,
            Link::Next => &mut self.from_next,
        }
    }

    /// Whether connections changed.
    pub(super) fn settle(&mut self) -> bool {
        let mut has_changed = false;
        while let Some(event) = self.session.poll_event() {
            match &event {
                Event::Switched { .. } => {
                    self.from_current = std::mem::take(&mut self.from_next);
                    self.to_current = std::mem::take(&mut self.to_next);
                    has_changed = true;
                }
                Event::GivenUp(_) => {
                    self.from_next.clear();
                    has_changed = true;
                }
                _ => {}
            }
            self.events.push(event);
        }
        self.to_client.append(self.session.transmit(Side::Client));
        let current = Side::Upstream(Link::Current);
        self.to_current.append(self.session.transmit(current));
        let next = Side::Upstream(Link::Next);
        self.to_next.append(self.session.transmit(next));
        has_changed
    }

    /// What the client has heard since it was last asked.
    pub(super) fn heard(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.to_client)).into_owned()
    }

    /// What a server was told since it was last asked.
    pub(super) fn told_to(&mut self, link: Link) -> String {
        let written = match link {
            Link::Current => &mut self.to_current,
            Link::Next => &mut self.to_next,
        };
        String::from_utf8_lossy(&std::mem::take(written)).into_owned()
    }

    /// The server answers every PING it was sent; what else it was told.
    pub(super) fn answer(&mut self, link: Link) -> String {
        let told = self.told_to(link);
        let pings = told.matches("PING\r\n").count();
        self.server(link, "PONG\r\n".repeat(pings)).unwrap();
        told.replace("PING\r\n", "")
    }

    pub(super) fn begin(&mut self, is_same_server: bool, is_forced: bool) {
        let info = self.info.clone();
        let move_to = Move {
            info,
            is_same_server,
            is_forced,
        };
        self.session.begin_handover(move_to, self.now);
        self.settle();
    }

    /// Both servers answer until they have nothing to answer; what the next one was told.
    pub(super) fn go_on(&mut self) -> String {
        let mut told = String::new();
        loop {
            let current = self.told_to(Link::Current);
            let next = self.told_to(Link::Next);
            told += &next;
            let pings = |written: &str| written.matches("PING\r\n").count();
            let (pings, asked) = (pings(&current), pings(&next));
            if pings + asked == 0 {
                return told;
            }
            let switched = self.switches();
            self.current("PONG\r\n".repeat(pings));
            // What the next connection says may be read as what the current one says by now.
            let link = if self.switches() > switched {
                Link::Current
            } else {
                Link::Next
            };
            self.server(link, "PONG\r\n".repeat(asked)).unwrap();
        }
    }

    pub(super) fn switches(&self) -> usize {
        let switched = |event: &&Event| matches!(event, Event::Switched { .. });
        self.events.iter().filter(switched).count()
    }

    /// Lets the handover end, however long it takes.
    pub(super) fn finish(&mut self) -> String {
        let mut told = self.go_on();
        while let Some(due) = self.session.poll_timeout() {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.settle();
            told += &self.go_on();
        }
        told
    }
}
