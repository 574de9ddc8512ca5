//! The world around one session: a server with any number of connections, links that deliver bytes in pieces and late,
//! publishers, and a client that keeps a ledger. Everything happens in an order drawn from a seed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::settings;
use crate::relay::protocol::{
    ClientOp, ClientParser, ParseLimits, ServerInfo, ServerOp, ServerParser, Step,
};
use crate::relay::session::{ClientOptions, Event, Link, Loss, Move, Session, Side, Verdict};

pub(super) const INFO: &[u8] = br#"{"server_id":"S","max_payload":1048576}"#;

/// A published message: who, and the how-manieth.
pub(super) type Numbered = (String, u64);

struct ServerSubscription {
    subject: String,
    queue: Option<String>,
    sid: String,
    max: Option<u64>,
    sent: u64,
}

/// One upstream connection, both ends and what is on its way.
struct Connection {
    to_server: VecDeque<u8>,
    at_server: Vec<u8>,
    parser: ClientParser,
    subscriptions: Vec<ServerSubscription>,
    to_relay: VecDeque<u8>,
    unread: Vec<u8>,
    alive: bool,
    /// The server neither reads nor writes.
    is_mute: bool,
}

impl Connection {
    fn new() -> Self {
        Self {
            to_server: VecDeque::new(),
            at_server: Vec::new(),
            parser: ClientParser::new(ParseLimits::client()),
            subscriptions: Vec::new(),
            to_relay: VecDeque::new(),
            unread: Vec::new(),
            alive: true,
            is_mute: false,
        }
    }
}

/// What the client did and got.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) received: HashMap<String, Vec<Numbered>>,
    pub(super) pings: usize,
    pub(super) pongs: usize,
    pub(super) acknowledgements: usize,
    pub(super) acknowledgeable: usize,
    pub(super) published: u64,
    pub(super) infos: usize,
    pub(super) errors: Vec<String>,
}

/// How a subscription of the client should be served.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) subject: String,
    pub(super) queue: bool,
    /// The first message routed after the server knew of it.
    since: Option<usize>,
    /// The first message routed after the client gave it up.
    pub(super) until: Option<usize>,
    pub(super) max: Option<usize>,
    /// How many it may get, because the server heard late of the maximum.
    limit: Option<usize>,
}

pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Instant,
    pub(super) session: Session,
    options: ClientOptions,
    connections: Vec<Connection>,
    current: usize,
    next: Option<usize>,
    to_session: Vec<u8>,
    from_session: Vec<u8>,
    client_parser: ServerParser,
    pub(super) ledger: Ledger,
    pub(super) expected: BTreeMap<String, Expected>,
    /// Every message the server routed: subject and number.
    routed: Vec<Numbered>,
    /// What the client published, as the server got it.
    pub(super) arrived: Vec<u64>,
    counts: HashMap<String, u64>,
    pub(super) events: Vec<Event>,
    pub(super) denied_on_next: Option<String>,
    pub(super) lost: Option<Loss>,
}

impl World {
    pub(super) fn new(seed: u64, options: ClientOptions) -> Self {
        let info = ServerInfo::parse(INFO).unwrap();
        Self {
            rng: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            session: Session::new(settings(), options, &info),
            options,
            connections: vec![Connection::new()],
            current: 0,
            next: None,
            to_session: Vec::new(),
            from_session: Vec::new(),
            client_parser: ServerParser::new(ParseLimits::server()),
            ledger: Ledger::default(),
            expected: BTreeMap::new(),
            routed: Vec::new(),
            arrived: Vec::new(),
            counts: HashMap::new(),
            events: Vec::new(),
            denied_on_next: None,
            lost: None,
        }
    }

    fn client_writes(&mut self, text: &str) {
        self.to_session.extend_from_slice(text.as_bytes());
    }

    pub(super) fn subscribe(&mut self, sid: &str, subject: &str, queue: Option<&str>) {
        let line = match queue {
            Some(queue) => format!("SUB {subject} {queue} {sid}\r\n"),
            None => format!("SUB {subject} {sid}\r\n"),
        };
        self.client_writes(&line);
        self.ledger.acknowledgeable += 1;
        let expected = Expected {
            subject: subject.into(),
            queue: queue.is_some(),
            ..Expected::default()
        };
        self.expected.insert(sid.into(), expected);
    }

    pub(super) fn unsubscribe(&mut self, sid: &str, max: Option<usize>) {
        let known = self.expected.get_mut(sid).unwrap();
        self.ledger.acknowledgeable += 1;
        match max {
            Some(max) => {
                known.max = Some(max);
                self.client_writes(&format!("UNSUB {sid} {max}\r\n"));
            }
            None => {
                known.until = Some(self.routed.len());
                self.client_writes(&format!("UNSUB {sid}\r\n"));
            }
        }
    }

    pub(super) fn ping(&mut self) {
        self.ledger.pings += 1;
        self.client_writes("PING\r\n");
    }

    /// The client publishes its next number.
    pub(super) fn publish(&mut self) {
        let number = self.ledger.published;
        self.ledger.published += 1;
        self.ledger.acknowledgeable += 1;
        let filling = "x".repeat(self.rng.usize(0..40));
        let payload = format!("{number} {filling}");
        let line = format!("PUB own {}\r\n{payload}\r\n", payload.len());
        self.client_writes(&line);
    }

    /// Somebody else publishes the next number of `subject`.
    pub(super) fn publish_elsewhere(&mut self, subject: &str) {
        let count = self.counts.entry(subject.into()).or_default();
        let number = *count;
        *count += 1;
        let filling = "y".repeat(self.rng.usize(0..40));
        self.route(subject, number, &format!("{number} {filling}"), None);
    }

    fn route(&mut self, subject: &str, number: u64, payload: &str, from: Option<usize>) {
        self.routed.push((subject.into(), number));
        let mut members: Vec<(usize, usize)> = Vec::new();
        for place in 0..self.connections.len() {
            if from == Some(place) && !self.options.echo || !self.connections[place].alive {
                continue;
            }
            for index in 0..self.connections[place].subscriptions.len() {
                let known = &self.connections[place].subscriptions[index];
                if known.subject != subject {
                    continue;
                }
                if known.queue.is_some() {
                    members.push((place, index));
                } else {
                    self.deliver(place, index, payload);
                }
            }
        }
        if !members.is_empty() {
            let (place, index) = members[self.rng.usize(0..members.len())];
            self.deliver(place, index, payload);
        }
        for connection in &mut self.connections {
            let is_over =
                |known: &ServerSubscription| known.max.is_some_and(|max| known.sent >= max);
            connection.subscriptions.retain(|known| !is_over(known));
        }
    }

    fn deliver(&mut self, place: usize, index: usize, payload: &str) {
        let connection = &mut self.connections[place];
        let known = &mut connection.subscriptions[index];
        known.sent += 1;
        let frame = format!(
            "MSG {} {} {}\r\n{payload}\r\n",
            known.subject,
            known.sid,
            payload.len()
        );
        connection.to_relay.extend(frame.as_bytes());
    }

    /// The server reads one operation of a connection.
    fn serve(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        let Ok(step) = connection.parser.next(&connection.at_server) else {
            panic!(
                "the server got junk: {:?}",
                String::from_utf8_lossy(&connection.at_server)
            );
        };
        let Step::Line { op, length } = step else {
            return;
        };
        let mut used = length;
        let mut acknowledged = false;
        let mut published = None;
        match op {
            ClientOp::Ping => connection.to_relay.extend(b"PONG\r\n"),
            ClientOp::Pong => {}
            ClientOp::Subscribe {
                subject,
                queue,
                sid,
            } => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let (subject, sid) = (text(subject), text(sid));
                if self.denied_on_next.as_deref() == Some(&subject) && place != self.current {
                    let error = format!(
                        "-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\n"
                    );
                    connection.to_relay.extend(error.as_bytes());
                } else {
                    acknowledged = true;
                    let queue = queue.map(text);
                    connection.subscriptions.push(ServerSubscription {
                        subject,
                        queue,
                        sid: sid.clone(),
                        max: None,
                        sent: 0,
                    });
                    if let Some(expected) = self.expected.get_mut(&sid) {
                        expected.since.get_or_insert(self.routed.len());
                    }
                }
            }
            ClientOp::Unsubscribe { sid, max } => {
                acknowledged = true;
                let sid = std::str::from_utf8(sid).unwrap();
                if max.is_some()
                    && place == self.current
                    && let Some(expected) = self.expected.get_mut(sid)
                    && let (Some(max), Some(since)) = (expected.max, expected.since)
                {
                    let routed = self.routed[since..].iter();
                    let so_far = routed
                        .filter(|message| message.0 == expected.subject)
                        .count();
                    expected.limit.get_or_insert(max.max(so_far));
                }
                for known in &mut connection.subscriptions {
                    if known.sid == sid {
                        known.max = Some(max.unwrap_or(0));
                    }
                }
                connection
                    .subscriptions
                    .retain(|known| known.max.is_none_or(|max| known.sent < max));
            }
            ClientOp::Publish { size, .. } => {
                let end = length + usize::try_from(size).unwrap() + 2;
                if connection.at_server.len() < end {
                    // As a whole only; the parser is asked again.
                    connection.parser = ClientParser::new(ParseLimits::client());
                    return;
                }
                let payload =
                    String::from_utf8(connection.at_server[length..end - 2].to_vec()).unwrap();
                connection.parser = ClientParser::new(ParseLimits::client());
                used = end;
                acknowledged = true;
                published = Some(payload);
            }
            other => panic!("unexpected {other:?}"),
        }
        if acknowledged && self.options.verbose {
            connection.to_relay.extend(b"+OK\r\n");
        }
        connection.at_server.drain(..used);
        if let Some(payload) = published {
            let number = payload.split(' ').next().unwrap().parse().unwrap();
            self.arrived.push(number);
            self.route("own", number, &payload, Some(place));
        }
    }

    /// Does one thing, drawn at random. Whether there was anything to do.
    pub(super) fn step(&mut self) -> bool {
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
            return false;
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
            if verdict == Verdict::default() {
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

    fn read_as_client(&mut self) {
        loop {
            // Whole messages only: a payload is looked at in one piece.
            let mut parser = self.client_parser;
            let Step::Line { op, length } = parser.next(&self.from_session).unwrap() else {
                return;
            };
            let mut used = length;
            match op {
                ServerOp::Message { sid, size, .. } => {
                    let sid = String::from_utf8(sid.to_vec()).unwrap();
                    let end = length + usize::try_from(size).unwrap() + 2;
                    if self.from_session.len() < end {
                        return;
                    }
                    let line = String::from_utf8(self.from_session[..end].to_vec()).unwrap();
                    let mut words = line.split_ascii_whitespace();
                    let subject = words.nth(1).unwrap().to_owned();
                    let number = words.nth(2).unwrap().parse().unwrap();
                    self.ledger
                        .received
                        .entry(sid)
                        .or_default()
                        .push((subject, number));
                    used = end;
                }
                ServerOp::Pong => self.ledger.pongs += 1,
                ServerOp::Ok => self.ledger.acknowledgements += 1,
                ServerOp::Info(_) => self.ledger.infos += 1,
                ServerOp::Error(text) => self
                    .ledger
                    .errors
                    .push(String::from_utf8(text.to_vec()).unwrap()),
                ServerOp::Ping => {}
            }
            self.from_session.drain(..used);
        }
    }

    pub(super) fn begin_handover(&mut self, is_forced: bool) {
        self.connections.push(Connection::new());
        self.next = Some(self.connections.len() - 1);
        let info = INFO.to_vec();
        let move_to = Move {
            info,
            is_same_server: true,
            is_forced,
        };
        self.session.begin_handover(move_to, self.now);
        self.settle();
    }

    pub(super) fn may_begin(&self) -> bool {
        !self.session.is_handing_over() && !self.session.is_in_outage()
    }

    pub(super) fn mute_next(&mut self) {
        if let Some(place) = self.next {
            self.connections[place].is_mute = true;
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
            self.connections.push(Connection::new());
            self.current = self.connections.len() - 1;
            self.session.restore(INFO).unwrap();
            self.settle();
        }
    }

    /// Lets everything that is under way arrive, the end of a handover included.
    pub(super) fn drain(&mut self) {
        for _ in 0..1_000_000 {
            if self.step() {
                continue;
            }
            let Some(due) = self.session.poll_timeout() else {
                return;
            };
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.settle();
        }
        panic!("does not come to rest");
    }

    /// As [`World::assert_exact`], but a queue message may have gone down with the connection that had it.
    pub(super) fn assert_own_and_plain_exact(&mut self, seed: u64) {
        self.expected.retain(|_, expected| !expected.queue);
        self.assert_exact(seed);
    }

    pub(super) fn assert_nothing_repeated(&self, seed: u64) {
        for (sid, received) in &self.ledger.received {
            let mut once = received.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(
                once.len(),
                received.len(),
                "seed {seed}, {sid}: {received:?}"
            );
        }
        let mut arrived = self.arrived.clone();
        arrived.dedup();
        assert!(
            arrived.is_sorted() && arrived.len() == self.arrived.len(),
            "seed {seed}: {arrived:?}"
        );
    }

    /// Compares what the client got with what a single connection would have given it.
    pub(super) fn assert_exact(&self, seed: u64) {
        for (sid, expected) in &self.expected {
            let nothing = Vec::new();
            let received = self.ledger.received.get(sid).unwrap_or(&nothing);
            let since = expected.since.expect("the server knows every subscription");
            let until = expected.until.unwrap_or(self.routed.len());
            let is_meant = |message: &&Numbered| {
                message.0 == expected.subject && (self.options.echo || message.0 != "own")
            };
            let mut wanted: Vec<_> = self.routed[since..]
                .iter()
                .filter(is_meant)
                .cloned()
                .collect();
            let surely = self.routed[since..until.max(since)]
                .iter()
                .filter(is_meant)
                .count();
            if let Some(limit) = expected.limit {
                wanted.truncate(limit);
            }
            let mut received = received.clone();
            if expected.queue {
                // Between the members of a group there is no order.
                received.sort_unstable_by_key(|(_, number)| *number);
            }
            let surely = surely.min(expected.limit.unwrap_or(usize::MAX));
            assert!(
                received.len() >= surely,
                "seed {seed}, {sid}: {received:?} of {wanted:?}, {surely}"
            );
            assert_eq!(
                received,
                wanted[..received.len().min(wanted.len())],
                "seed {seed}, {sid}"
            );
        }
        assert_eq!(
            self.arrived,
            (0..self.ledger.published).collect::<Vec<_>>(),
            "seed {seed}"
        );
        assert_eq!(self.ledger.pongs, self.ledger.pings, "seed {seed}");
        if self.options.verbose {
            assert_eq!(
                self.ledger.acknowledgements, self.ledger.acknowledgeable,
                "seed {seed}"
            );
        } else {
            assert_eq!(self.ledger.acknowledgements, 0, "seed {seed}");
        }
    }
}
