//! The server's end: what it knows of each connection, and what it routes to whom.

use std::collections::VecDeque;

use super::routes::Parcel;
use super::{INBOX, World};
use crate::relay::protocol::{ClientOp, ClientParser, ParseLimits, Step};

pub(super) struct ServerSubscription {
    pub(super) subject: String,
    pub(super) queue: Option<String>,
    pub(super) sid: String,
    pub(super) max: Option<u64>,
    pub(super) sent: u64,
}

/// One upstream connection, both ends and what is on its way.
pub(super) struct Connection {
    pub(super) to_server: VecDeque<u8>,
    pub(super) at_server: Vec<u8>,
    pub(super) parser: ClientParser,
    pub(super) subscriptions: Vec<ServerSubscription>,
    pub(super) to_relay: VecDeque<u8>,
    pub(super) unread: Vec<u8>,
    pub(super) alive: bool,
    /// The server neither reads nor writes.
    pub(super) is_mute: bool,
    /// Which server of the cluster it leads to.
    pub(super) node: usize,
    /// How often the server asked for a sign of life, and got it.
    pub(super) asked: usize,
    pub(super) answered: usize,
}

impl Connection {
    pub(super) fn new(node: usize) -> Self {
        Self {
            to_server: VecDeque::new(),
            at_server: Vec::new(),
            parser: ClientParser::new(ParseLimits::client()),
            subscriptions: Vec::new(),
            to_relay: VecDeque::new(),
            unread: Vec::new(),
            alive: true,
            is_mute: false,
            node,
            asked: 0,
            answered: 0,
        }
    }
}

impl Connection {
    /// Nobody is there to answer: that is told on the connection that asked, and on no other.
    fn refuse_to_answer(&mut self, inbox: &str) {
        let listens = |known: &&ServerSubscription| known.subject == INBOX;
        if let Some(known) = self.subscriptions.iter().find(listens) {
            let frame = format!(
                "HMSG {inbox} {} 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
                known.sid
            );
            self.to_relay.extend(frame.as_bytes());
        }
    }
}

impl World {
    /// Somebody else publishes the next number of `subject`, always at the same server.
    pub(in crate::relay::session::tests) fn publish_elsewhere(&mut self, subject: &str) {
        let count = self.counts.entry(subject.into()).or_default();
        let number = *count;
        *count += 1;
        let (number, filling) = if self.is_monotonous {
            (0, String::new())
        } else {
            (number, "y".repeat(self.rng.usize(0..40)))
        };
        let origin = self.routes.origin(subject);
        self.publish_at(
            origin,
            subject,
            number,
            &format!("{number} {filling}"),
            None,
        );
    }

    /// A server gets a message to route: to its own connections, and to the servers that it knows to be interested.
    fn publish_at(
        &mut self,
        node: usize,
        subject: &str,
        number: u64,
        payload: &str,
        from: Option<usize>,
    ) {
        self.routed.push((subject.into(), number));
        self.routed_at.push(self.now);
        let away = self
            .routes
            .send(node, subject, payload, self.now, &mut self.rng);
        self.deliver_at(node, subject, payload, from, !away);
    }

    /// The next thing that is due comes to its server; whether there is one.
    pub(super) fn arrives(&mut self) -> bool {
        let Some((node, parcel)) = self.routes.take(self.now) else {
            return false;
        };
        match parcel {
            Parcel::Message {
                subject,
                payload,
                for_group,
            } => self.deliver_at(node, &subject, &payload, None, for_group),
            Parcel::Interest { subject, of } => {
                if node == self.routes.origin(&subject) {
                    self.interest_is_known(&subject, of);
                }
            }
        }
        true
    }

    /// From now on its publisher's server sends there what is published.
    fn interest_is_known(&mut self, subject: &str, of: usize) {
        let routed = self.routed.len();
        for expected in self.expected.values_mut() {
            if expected.subject == subject && expected.since.is_some() && expected.at == Some(of) {
                expected.surely.get_or_insert(routed);
            }
        }
    }

    fn deliver_at(
        &mut self,
        node: usize,
        subject: &str,
        payload: &str,
        from: Option<usize>,
        for_group: bool,
    ) {
        let mut members: Vec<(usize, usize)> = Vec::new();
        for place in 0..self.connections.len() {
            let connection = &self.connections[place];
            let is_own = from == Some(place) && !self.options.echo;
            if is_own || !connection.alive || connection.node != node {
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
        if for_group && !members.is_empty() {
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
    pub(super) fn serve(&mut self, place: usize) {
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
        let mut asked = None;
        match op {
            ClientOp::Ping => connection.to_relay.extend(b"PONG\r\n"),
            ClientOp::Pong => connection.answered += 1,
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
                    let node = connection.node;
                    let is_group = connection.subscriptions.last().unwrap().queue.is_some();
                    let subject = connection.subscriptions.last().unwrap().subject.clone();
                    if let Some(expected) = self.expected.get_mut(&sid) {
                        expected.since.get_or_insert(self.routed.len());
                        expected.at.get_or_insert(node);
                        if node == self.routes.origin(&subject) || self.routes.knows(node, &subject)
                        {
                            expected.surely.get_or_insert(self.routed.len());
                        }
                    }
                    self.routes.subscribed(node, &subject, is_group, self.now);
                }
            }
            ClientOp::Unsubscribe { sid, max } => {
                acknowledged = true;
                let sid = std::str::from_utf8(sid).unwrap();
                // What the relay says of its own accord, when it leaves, does not count.
                let unsaid = String::from_utf8_lossy(&self.to_session);
                let is_said = !unsaid.contains(&format!("UNSUB {sid} "));
                if is_said
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
                let line = String::from_utf8(connection.at_server[..length].to_vec()).unwrap();
                connection.parser = ClientParser::new(ParseLimits::client());
                used = end;
                acknowledged = true;
                match line.strip_prefix("PUB nobody ") {
                    Some(rest) => asked = rest.split(' ').next().map(str::to_owned),
                    None => published = Some(payload),
                }
            }
            other => panic!("unexpected {other:?}"),
        }
        let connection = &mut self.connections[place];
        if acknowledged && self.options.verbose {
            connection.to_relay.extend(b"+OK\r\n");
        }
        if let Some(inbox) = asked {
            connection.refuse_to_answer(&inbox);
        }
        connection.at_server.drain(..used);
        if let Some(payload) = published {
            let number = payload.split(' ').next().unwrap().parse().unwrap();
            self.arrived.push(number);
            let node = self.connections[place].node;
            self.publish_at(node, "own", number, &payload, Some(place));
        }
    }
}
