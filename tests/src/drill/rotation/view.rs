//! What all nodes show of their clients, and what follows from it. Nothing else counts as proof
//! that a rotation happened.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::server::NatsServer;

/// One connection, on whichever node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// Counted from 1.
    pub(super) node: usize,
    pub(super) cid: u64,
    pub(super) name: String,
    pub(super) fingerprint: Option<String>,
}

/// All connections of all nodes at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct View(pub(super) Vec<Seat>);

/// A connection that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Departure {
    /// Counted from 1.
    pub(super) node: usize,
    pub(super) cid: u64,
    pub(super) name: String,
    /// As the server words it.
    pub(super) reason: String,
}

/// Who keeps the drill from going on, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Laggard {
    /// The instance, or the client's name on the server.
    pub instance: String,
    /// What is wrong with it.
    pub why: String,
}

impl Laggard {
    pub(super) fn new(instance: &str, why: impl Into<String>) -> Self {
        Self {
            instance: instance.to_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for Laggard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.instance, self.why)
    }
}

impl View {
    pub(super) async fn of(nodes: &[NatsServer]) -> Result<Self> {
        let mut seats = Vec::new();
        for (node, server) in (1..).zip(nodes) {
            let connections = server.connections().await?;
            seats.extend(connections.into_iter().map(|connection| Seat {
                node,
                cid: connection.cid,
                fingerprint: connection.fingerprint().map(str::to_owned),
                name: connection.name,
            }));
        }
        Ok(Self(seats))
    }

    /// The one connection of that name; why not, if there is none or more than one.
    pub(super) fn seat(&self, name: &str) -> Result<&Seat, Laggard> {
        let mut seats = self.0.iter().filter(|seat| seat.name == name);
        match (seats.next(), seats.count()) {
            (Some(seat), 0) => Ok(seat),
            (Some(_), more) => Err(Laggard::new(name, format!("{} connections", more + 1))),
            (None, _) => Err(Laggard::new(name, "no connection on any node")),
        }
    }

    /// Whether `name` made a new connection since `before`, with this certificate. A change of
    /// the roots alone shows as a new connection too.
    pub(super) fn moved(
        &self,
        before: &Self,
        name: &str,
        fingerprint: &str,
    ) -> Result<(), Laggard> {
        let seat = self.seat(name)?;
        if seat.fingerprint.as_deref() != Some(fingerprint) {
            let shown = seat.fingerprint.as_deref().map_or("none", short);
            let why = format!("node {} shows certificate {shown}", seat.node);
            return Err(Laggard::new(name, why));
        }
        if before.seat(name) == Ok(seat) {
            let why = format!(
                "still the old connection {} on node {}",
                seat.cid, seat.node
            );
            return Err(Laggard::new(name, why));
        }
        Ok(())
    }

    /// Who is not on exactly the connection it had, though its turn has not come.
    pub(super) fn disturbed(&self, before: &Self, names: &[&str]) -> Vec<Laggard> {
        let is_same = |name: &&&str| match (before.seat(name), self.seat(name)) {
            (Ok(then), Ok(now)) => then == now,
            _ => false,
        };
        names
            .iter()
            .filter(|name| !is_same(name))
            .map(|name| Laggard::new(name, "moved or lost its connection out of turn"))
            .collect()
    }

    /// Every connection, of the fleet or not, that shows another certificate than these.
    pub(super) fn others_than(&self, fingerprints: &BTreeSet<&str>) -> Vec<Laggard> {
        let is_other = |seat: &&Seat| {
            seat.fingerprint
                .as_deref()
                .is_none_or(|shown| !fingerprints.contains(shown))
        };
        self.0
            .iter()
            .filter(is_other)
            .map(|seat| {
                let shown = seat.fingerprint.as_deref().map_or("none", short);
                let why = format!("node {} still shows certificate {shown}", seat.node);
                Laggard::new(&seat.name, why)
            })
            .collect()
    }
}

/// Whether a node has already recorded that a connection of that name ended, which it does a while after
/// it shows the next one.
pub(super) fn left(departures: &[Departure], name: &str) -> Result<(), Laggard> {
    let is_gone = departures.iter().any(|one| one.name == name);
    is_gone
        .then_some(())
        .ok_or_else(|| Laggard::new(name, "no node says that its old connection ended"))
}

/// Which connections of the fleet ended although they should not have, or not once, or not because the
/// client left. Whether they ended at all was waited for.
pub(super) fn lost(departures: &[Departure], fleet: &[&str], members: &[&str]) -> Vec<Laggard> {
    let mut lost = Vec::new();
    for name in fleet {
        let gone: Vec<_> = departures.iter().filter(|one| one.name == *name).collect();
        let expected = usize::from(members.contains(name));
        if gone.len() != expected {
            let why = format!("{} of its connections ended, not {expected}", gone.len());
            lost.push(Laggard::new(name, why));
        }
        let others = gone.iter().filter(|one| one.reason != "Client Closed");
        lost.extend(others.map(|one| {
            let why = format!("node {} ended its connection: {}", one.node, one.reason);
            Laggard::new(name, why)
        }));
    }
    lost
}

/// Enough of a fingerprint to tell two apart.
pub(super) fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(seats: &[(usize, u64, &str, &str)]) -> View {
        View(
            seats
                .iter()
                .map(|&(node, cid, name, fingerprint)| Seat {
                    node,
                    cid,
                    name: name.to_owned(),
                    fingerprint: (!fingerprint.is_empty()).then(|| fingerprint.to_owned()),
                })
                .collect(),
        )
    }

    #[test]
    fn a_move_is_one_new_connection_with_the_new_certificate() {
        let before = view(&[(1, 7, "a", "old")]);
        let cases = [
            (view(&[(1, 8, "a", "new")]), None),
            (view(&[(2, 7, "a", "new")]), None),
            (view(&[(1, 7, "a", "old")]), Some("shows certificate old")),
            (view(&[(1, 8, "a", "")]), Some("shows certificate none")),
            (view(&[(1, 8, "b", "new")]), Some("no connection")),
            (
                view(&[(1, 8, "a", "new"), (2, 3, "a", "old")]),
                Some("2 connections"),
            ),
        ];
        for (now, expected) in cases {
            let why = now.moved(&before, "a", "new").err().map(|lag| lag.why);
            match expected {
                None => assert_eq!(why, None, "{now:?}"),
                Some(text) => assert!(why.as_deref().unwrap().contains(text), "{why:?}"),
            }
        }
        let roots_only = before.moved(&before, "a", "old");
        assert!(roots_only.unwrap_err().why.contains("old connection 7"));
    }

    #[test]
    fn whoever_moves_out_of_turn_is_named() {
        let before = view(&[(1, 7, "a", "x"), (1, 8, "b", "x"), (2, 9, "c", "x")]);
        let now = view(&[(1, 7, "a", "x"), (2, 8, "b", "x")]);
        let named: Vec<_> = now
            .disturbed(&before, &["a", "b", "c"])
            .into_iter()
            .map(|laggard| laggard.instance)
            .collect();
        assert_eq!(named, ["b", "c"]);
    }

    #[test]
    fn who_moves_leaves_one_connection_and_by_itself() {
        let gone = |name: &str, reason: &str| Departure {
            node: 2,
            cid: 7,
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let closed = gone("a", "Client Closed");
        let lost = |departures: &[Departure], members: &[&str]| {
            let lost = super::lost(departures, &["a", "b"], members);
            lost.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let preflight = gone("a preflight", "Client Closed");
        assert!(left(&[gone("b", "Client Closed"), preflight.clone()], "a").is_err());
        assert!(left(std::slice::from_ref(&closed), "a").is_ok());
        assert!(lost(&[closed.clone(), preflight], &["a"]).is_empty());
        assert!(lost(&[], &[]).is_empty());
        assert_eq!(lost(&[], &["b"]), ["b: 0 of its connections ended, not 1"]);
        assert_eq!(
            lost(std::slice::from_ref(&closed), &[]),
            ["a: 1 of its connections ended, not 0"]
        );
        assert_eq!(
            lost(&[closed.clone(), closed], &["a"]),
            ["a: 2 of its connections ended, not 1"]
        );
        assert_eq!(
            lost(&[gone("a", "Stale Connection")], &["a"]),
            ["a: node 2 ended its connection: Stale Connection"]
        );
    }

    #[test]
    fn a_connection_outside_the_fleet_keeps_the_old_root_too() {
        let now = view(&[
            (1, 7, "a", "new"),
            (3, 2, "nobody's", "old"),
            (1, 9, "", ""),
        ]);
        let named: Vec<_> = now
            .others_than(&BTreeSet::from(["new"]))
            .into_iter()
            .map(|laggard| laggard.instance)
            .collect();
        assert_eq!(named, ["nobody's", ""]);
    }
}
