//! Many sessions under load through one relay, moved again and again: the load of promise 7.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Clock, Conversation, Endpoint, Tally, Topic, Verdict};
use crate::relay::{Places, Relay, places};
use crate::server::NatsServer;
use crate::wait::{PATIENCE, eventually};

/// The longest that a move of all sessions may take to show at the server.
const MOVE: Duration = Duration::from_secs(20);

/// Sessions that talk, and where they are.
pub struct Sessions {
    talks: BTreeMap<String, Conversation>,
    places: Places,
    clock: Clock,
    moves: Vec<(Duration, Duration)>,
}

/// What became of them.
pub struct Outcome {
    /// By session.
    pub verdicts: BTreeMap<String, Verdict>,
    /// How many times a session was moved, in all.
    pub handovers: usize,
    moves: Vec<(Duration, Duration)>,
}

impl Sessions {
    /// Opens `count` sessions through the relay, with `rate` messages a second each way over all
    /// of them. The peers connect to `peers`, in turns.
    ///
    /// # Errors
    /// When one is not let in.
    pub async fn start(
        relay: &Relay,
        servers: &[NatsServer],
        peers: &[Endpoint],
        count: usize,
        rate: f64,
    ) -> Result<Self> {
        let clock = Clock::start();
        let mut talks = BTreeMap::new();
        for (number, peer) in (0..count).zip(peers.iter().cycle()) {
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let topic = Topic {
                name: format!("session-{number}"),
                rate: rate / count as f64,
                size: 128,
            };
            let talk = Conversation::start(&relay.endpoint(), peer, &topic, clock)?;
            talks.insert(topic.name, talk);
        }
        let names: Vec<_> = talks.keys().cloned().collect();
        let fingerprint = Some(relay.identity.fingerprint());
        Ok(Self {
            places: places(servers, &names, fingerprint).await?,
            talks,
            clock,
            moves: Vec::new(),
        })
    }

    /// Where they are.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Has `cause` move every session, and waits until the servers show all of them elsewhere,
    /// with the identity that the files hold then.
    ///
    /// # Errors
    /// When one has not moved, or its client's TCP connection ended.
    pub async fn moved(
        &mut self,
        relay: &mut Relay,
        servers: &[NatsServer],
        cause: impl FnOnce(&mut Relay) -> Result<()>,
    ) -> Result<()> {
        let at_once = async |_: &Relay| Ok(());
        self.moved_after(relay, servers, cause, at_once).await
    }

    /// The same, but the servers are first asked when `until` is over: for many sessions, which
    /// cost a server a lot to show.
    ///
    /// # Errors
    /// As [`Self::moved`].
    pub async fn moved_after(
        &mut self,
        relay: &mut Relay,
        servers: &[NatsServer],
        cause: impl FnOnce(&mut Relay) -> Result<()>,
        until: impl AsyncFnOnce(&Relay) -> Result<()>,
    ) -> Result<()> {
        self.heard_something().await?;
        let began = self.clock.now();
        cause(relay)?;
        until(relay).await?;
        self.places = relay.moved(servers, &self.places, MOVE).await?;
        self.moves.push((began, self.clock.now()));
        for (name, talk) in &self.talks {
            ensure!(talk.is_alive(), "the client of {name} lost its connection");
        }
        Ok(())
    }

    /// Stops, and settles the ledgers.
    ///
    /// # Errors
    /// When a connection had ended.
    pub async fn finish(mut self) -> Result<Outcome> {
        self.heard_something().await?;
        let handovers = self.moves.len() * self.talks.len();
        let mut verdicts = BTreeMap::new();
        for (name, talk) in self.talks {
            verdicts.insert(name, talk.finish().await?);
        }
        Ok(Outcome {
            verdicts,
            handovers,
            moves: self.moves,
        })
    }

    /// So that every move has load before and after it.
    async fn heard_something(&mut self) -> Result<()> {
        for (name, talk) in &self.talks {
            let before = talk.received();
            let what = format!("{name} sends and receives");
            eventually(PATIENCE, &what, || async {
                let now = talk.received();
                Ok((now.0 > before.0 && now.1 > before.1).then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

impl Outcome {
    /// What went up, over all sessions.
    #[must_use]
    pub fn up(&self) -> Tally {
        self.sum(|verdict| verdict.up)
    }

    /// What came down, over all sessions.
    #[must_use]
    pub fn down(&self) -> Tally {
        self.sum(|verdict| verdict.down)
    }

    /// The longest stall of each session in each move.
    #[must_use]
    pub fn stalls(&self) -> Vec<Duration> {
        self.moves
            .iter()
            .flat_map(|(from, until)| {
                self.verdicts
                    .values()
                    .map(|verdict| verdict.longest_stall(*from, *until))
            })
            .collect()
    }

    fn sum(&self, way: impl Fn(&Verdict) -> Tally) -> Tally {
        self.verdicts
            .values()
            .map(way)
            .fold(Tally::default(), Tally::plus)
    }
}
