//! The world around one session: a server with any number of connections, links that deliver bytes in pieces and late,
//! publishers, and a client that keeps a ledger. Everything happens in an order drawn from a seed.

mod client;
mod judgement;
mod routes;
mod server;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::settings;
use crate::relay::protocol::{ParseLimits, ServerInfo, ServerParser};
use crate::relay::session::{ClientOptions, Event, Link, Loss, Move, Session, Side};
pub(super) use client::INBOX;
use client::{Expected, Ledger};
use routes::Routes;
use server::Connection;

pub(super) const INFO: &[u8] = br#"{"server_id":"S","max_payload":1048576}"#;

/// A published message: who, and the how-manieth.
pub(super) type Numbered = (String, u64);

pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Instant,
    pub(super) session: Session,
    options: ClientOptions,
    connections: Vec<Connection>,
    routes: Routes,
    current: usize,
    next: Option<usize>,
    to_session: Vec<u8>,
    from_session: Vec<u8>,
    client_parser: ServerParser,
    pub(super) ledger: Ledger,
    pub(super) expected: BTreeMap<String, Expected>,
    /// Every message the server routed: subject and number.
    routed: Vec<Numbered>,
    routed_at: Vec<Instant>,
    /// What the client published, as the server got it.
    pub(super) arrived: Vec<u64>,
    counts: HashMap<String, u64>,
    pub(super) events: Vec<Event>,
    pub(super) denied_on_next: Option<String>,
    pub(super) lost: Option<Loss>,
    /// What is published elsewhere is always the same.
    pub(super) is_monotonous: bool,
}

impl World {
    pub(super) fn new(seed: u64, options: ClientOptions) -> Self {
        let info = ServerInfo::parse(INFO).unwrap();
        Self {
            rng: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            session: Session::new(settings(), options, &info),
            options,
            connections: vec![Connection::new(0)],
            routes: Routes::new(1, &mut fastrand::Rng::with_seed(seed)),
            current: 0,
            next: None,
            to_session: Vec::new(),
            from_session: Vec::new(),
            client_parser: ServerParser::new(ParseLimits::server()),
            ledger: Ledger::default(),
            expected: BTreeMap::new(),
            routed: Vec::new(),
            routed_at: Vec::new(),
            arrived: Vec::new(),
            counts: HashMap::new(),
            events: Vec::new(),
            denied_on_next: None,
            lost: None,
            is_monotonous: false,
        }
    }

    /// As [`World::new`], in a cluster of three servers; a handover leads to another one.
    pub(super) fn cluster(seed: u64, options: ClientOptions) -> Self {
        let mut world = Self::new(seed, options);
        world.routes = Routes::new(3, &mut world.rng);
        world
    }

    /// As [`World::cluster`], and other clients want the same at each server: its messages come there whether the client
    /// is there or not.
    pub(super) fn shared_cluster(seed: u64, options: ClientOptions) -> Self {
        let mut world = Self::cluster(seed, options);
        world.routes.want_everywhere();
        world
    }

    /// Something is on its way, or the session has something to do; whether there is anything to wait for.
    fn time_passes(&mut self) -> bool {
        if matches!(self.events.last(), Some(Event::CloseClient(_))) {
            return false;
        }
        let due = [self.routes.due(), self.session.poll_timeout()];
        let Some(due) = due.into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(due);
        self.session.handle_timeout(self.now);
        self.settle();
        true
    }

    /// Does one thing, drawn at random. Whether there was anything to do.
    pub(super) fn step(&mut self) -> bool {
        if self
            .session
            .poll_timeout()
            .is_some_and(|due| due <= self.now)
        {
            return self.time_passes();
        }
        // Routes are late, but no later than the waits of a handover allow.
        while self.arrives() {}
        let mut choices: Vec<u8> = Vec::new();
        if !self.to_session.is_empty() && self.session.wants_client() {
            choices.push(0);
        }
        for (place, connection) in self.connections.iter().enumerate() {
            let place = u8::try_from(place).unwrap();
            if !connection.alive || connection.is_mute {
                continue;
            }
            if !connection.to_server.is_empty() {
                choices.push(50 + place);
            }
            if !connection.at_server.is_empty() {
                choices.push(100 + place);
            }
            let is_read =
                usize::from(place) == self.current || Some(usize::from(place)) == self.next;
            if !connection.to_relay.is_empty() && is_read {
                choices.push(150 + place);
            }
        }
        if choices.is_empty() {
            return self.time_passes();
        }
        self.now += Duration::from_micros(self.rng.u64(1..300));
        match choices[self.rng.usize(0..choices.len())] {
            0 => self.show_client(),
            choice @ 50..100 => {
                let connection = &mut self.connections[usize::from(choice - 50)];
                let some = self.rng.usize(1..=connection.to_server.len());
                connection
                    .at_server
                    .extend(connection.to_server.drain(..some));
            }
            choice @ 100..150 => {
                let place = usize::from(choice - 100);
                let before = self.connections[place].at_server.len();
                self.serve(place);
                if self.connections[place].at_server.len() == before
                    && self.connections[place].to_server.is_empty()
                {
                    return choices.len() > 1;
                }
            }
            choice => {
                let place = usize::from(choice - 150);
                let connection = &mut self.connections[place];
                let some = self.rng.usize(1..=connection.to_relay.len().min(200));
                connection.unread.extend(connection.to_relay.drain(..some));
                self.show_upstream(place);
            }
        }
        true
    }

    fn show_client(&mut self) {
        let shown = self.rng.usize(1..=self.to_session.len());
        let mut shown = self.to_session[..shown].to_vec();
        loop {
            let verdict = self.session.handle_client(&shown, self.now).unwrap();
            let forwarded = &shown[..verdict.forward];
            let current = self.current;
            self.connections[current].to_server.extend(forwarded);
            let used = verdict.forward + verdict.skip;
            shown.drain(..used);
            self.to_session.drain(..used);
            self.settle();
            if verdict.is_empty() {
                break;
            }
        }
    }

    fn show_upstream(&mut self, place: usize) {
        loop {
            let link = if place == self.current {
                Link::Current
            } else if Some(place) == self.next {
                Link::Next
            } else {
                return;
            };
            let connection = &mut self.connections[place];
            let verdict = self
                .session
                .handle_upstream(link, &connection.unread, self.now)
                .unwrap();
            self.from_session
                .extend_from_slice(&connection.unread[..verdict.forward]);
            connection.unread.drain(..verdict.forward + verdict.skip);
            self.settle();
            if verdict.is_empty() {
                return;
            }
        }
    }

    /// What the shell does after each call.
    fn settle(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match &event {
                Event::Switched { .. } => {
                    self.connections[self.current].alive = false;
                    self.current = self.next.take().unwrap();
                }
                Event::GivenUp(_) => {
                    if let Some(next) = self.next.take() {
                        self.connections[next].alive = false;
                    }
                }
                _ => {}
            }
            self.events.push(event);
        }
        let client = std::mem::take(self.session.transmit(Side::Client));
        self.from_session.extend(client);
        let current = std::mem::take(self.session.transmit(Side::Upstream(Link::Current)));
        self.connections[self.current].to_server.extend(current);
        let next = std::mem::take(self.session.transmit(Side::Upstream(Link::Next)));
        if let Some(place) = self.next {
            self.connections[place].to_server.extend(next);
        }
        self.read_as_client();
    }

    pub(super) fn begin_handover(&mut self, is_forced: bool) {
        let here = self.connections[self.current].node;
        let node = (here + 1) % self.routes.nodes();
        self.connections.push(Connection::new(node));
        self.next = Some(self.connections.len() - 1);
        let info = INFO.to_vec();
        let move_to = Move {
            info,
            is_same_server: node == here,
            is_forced,
        };
        self.session.begin_handover(move_to, self.now);
        self.settle();
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.routes.nodes() > 1
    }

    pub(super) fn may_begin(&self) -> bool {
        !self.session.is_handing_over() && !self.session.is_in_outage()
    }

    pub(super) fn mute_next(&mut self) {
        if let Some(place) = self.next {
            self.connections[place].is_mute = true;
        }
    }

    /// The server of the connection in use neither reads nor writes, or does so again.
    pub(super) fn mute_current(&mut self, is_mute: bool) {
        self.connections[self.current].is_mute = is_mute;
    }

    /// A server says something of its own accord, on the next connection or the one in use.
    pub(super) fn server_says(&mut self, link: Link, line: &str) {
        let place = match link {
            Link::Current => Some(self.current),
            Link::Next => self.next,
        };
        if let Some(place) = place {
            let connection = &mut self.connections[place];
            connection.asked += usize::from(line == "PING\r\n");
            connection.to_relay.extend(line.as_bytes());
        }
    }

    /// The next connection breaks, with everything on its way.
    pub(super) fn break_next(&mut self) {
        if let Some(place) = self.next {
            self.connections[place].alive = false;
            self.next = None;
            self.session.handle_upstream_lost(Link::Next, self.now);
            self.settle();
        }
    }

    /// The current connection breaks, with everything on its way; a new one comes.
    pub(super) fn break_current(&mut self) {
        self.connections[self.current].alive = false;
        let loss = self.session.handle_upstream_lost(Link::Current, self.now);
        self.lost = Some(loss);
        self.settle();
        if loss == Loss::Outage {
            self.connections
                .push(Connection::new(self.connections[self.current].node));
            self.current = self.connections.len() - 1;
            self.session.restore(INFO).unwrap();
            self.settle();
        }
    }

    /// Lets everything that is under way arrive, the end of a handover included.
    pub(super) fn drain(&mut self) {
        for _ in 0..1_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("does not come to rest");
    }
}
