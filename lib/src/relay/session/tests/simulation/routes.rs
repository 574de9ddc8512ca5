//! Between the servers of a cluster: interest and messages, each in order and late.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// As far as the waits of a handover allow: `route` is at least three times the longest round trip.
pub(super) const LONGEST: Duration = Duration::from_millis(16);

pub(super) enum Parcel {
    Interest {
        subject: String,
        of: usize,
    },
    Message {
        subject: String,
        payload: String,
        /// Chosen among all servers with members of the group.
        for_group: bool,
    },
}

struct Route {
    from: usize,
    to: usize,
    takes: Duration,
    transit: VecDeque<(Instant, Parcel)>,
}

pub(super) struct Routes {
    nodes: usize,
    routes: Vec<Route>,
    /// Who knows whose interest in what, and whether in a group.
    known: HashSet<(usize, usize, String)>,
    groups: HashSet<(usize, String)>,
    /// Every server has a client of its own that wants everything.
    is_wanted_everywhere: bool,
}

impl Routes {
    pub(super) fn new(nodes: usize, rng: &mut fastrand::Rng) -> Self {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let routes = pairs
            .filter(|(from, to)| from != to)
            .map(|(from, to)| Route {
                from,
                to,
                takes: LONGEST.mul_f64(rng.f64()),
                transit: VecDeque::new(),
            });
        Self {
            nodes,
            routes: routes.collect(),
            known: HashSet::new(),
            groups: HashSet::new(),
            is_wanted_everywhere: false,
        }
    }

    pub(super) fn want_everywhere(&mut self) {
        self.is_wanted_everywhere = true;
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Where a subject's only publisher is, if it is not the client.
    pub(super) fn origin(&self, subject: &str) -> usize {
        subject.bytes().map(usize::from).sum::<usize>() % self.nodes
    }

    pub(super) fn knows(&self, of: usize, subject: &str) -> bool {
        let origin = self.origin(subject);
        self.is_wanted_everywhere || self.known.contains(&(origin, of, subject.to_owned()))
    }

    /// A server tells the others what its client wants.
    pub(super) fn subscribed(&mut self, of: usize, subject: &str, is_group: bool, now: Instant) {
        if is_group {
            self.groups.insert((of, subject.to_owned()));
        }
        for route in self.routes.iter_mut().filter(|route| route.from == of) {
            let subject = subject.to_owned();
            let due = now + route.takes;
            route
                .transit
                .push_back((due, Parcel::Interest { subject, of }));
        }
    }

    /// Sends a message to whom it may concern; whether the group's copy went with it.
    pub(super) fn send(
        &mut self,
        from: usize,
        subject: &str,
        payload: &str,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> bool {
        let is_known = |of| self.known.contains(&(from, of, subject.to_owned()));
        let mut members: Vec<_> = (0..self.nodes)
            .filter(|of| self.groups.contains(&(*of, subject.to_owned())))
            .filter(|of| *of == from || is_known(*of))
            .collect();
        rng.shuffle(&mut members);
        let chosen = members.first().copied().unwrap_or(from);
        let interested: Vec<_> = (0..self.nodes)
            .filter(|of| self.is_wanted_everywhere || is_known(*of))
            .collect();
        for route in &mut self.routes {
            if route.from == from && interested.contains(&route.to) {
                let parcel = Parcel::Message {
                    subject: subject.to_owned(),
                    payload: payload.to_owned(),
                    for_group: route.to == chosen,
                };
                route.transit.push_back((now + route.takes, parcel));
            }
        }
        chosen != from
    }

    fn first(&self) -> Option<(usize, Instant)> {
        let heads = self.routes.iter().enumerate();
        let heads = heads.filter_map(|(place, route)| Some((place, route.transit.front()?.0)));
        heads.min_by_key(|(_, due)| *due)
    }

    /// When the next thing arrives.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.first()?.1)
    }

    /// The next thing that has arrived, and where.
    pub(super) fn take(&mut self, now: Instant) -> Option<(usize, Parcel)> {
        let (place, _) = self.first().filter(|(_, due)| *due <= now)?;
        let route = &mut self.routes[place];
        let (_, parcel) = route.transit.pop_front()?;
        if let Parcel::Interest { subject, of } = &parcel {
            self.known.insert((route.to, *of, subject.clone()));
        }
        Some((route.to, parcel))
    }
}
