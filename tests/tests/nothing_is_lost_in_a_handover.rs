//! Promise 7: under 20,000 numbered messages a second each way, sessions are moved to new
//! certificates, leaf and authority, and not one message is lost, repeated or out of order; the
//! clients keep their TCP connections, and nats-server shows the new certificate for each.
//!
//! `scripts/test --long` does it a thousand times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use async_nats::ConnectOptions;
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::bench::Sample;
use nats_mtls_tests::load::library::LibraryConversation;
use nats_mtls_tests::load::sessions::{Outcome, Sessions};
use nats_mtls_tests::load::{Clock, Endpoint, Topic};
use nats_mtls_tests::long;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::relay::{Relay, places};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;

/// Messages a second each way, over all sessions.
const RATE: f64 = 20_000.0;
const SESSIONS: usize = 4;
/// Far above what a handover takes on a machine that is busy with other things, far below what a
/// time limit of the relay would add. The exact bound is measured by `scripts/bench`, in release and
/// on a machine that does nothing else.
const LONGEST: Duration = Duration::from_secs(1);

struct Scene {
    authority: Authority,
    servers: Vec<NatsServer>,
    relay: Relay,
    sessions: Sessions,
}

impl Scene {
    async fn start(authority: Authority, servers: Vec<NatsServer>) -> Result<Self> {
        let relay = Relay::start(&authority, &servers, |agent| agent).await?;
        let peers = servers
            .iter()
            .map(|server| peer(&authority, server))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            sessions: Sessions::start(&relay, &servers, &peers, SESSIONS, RATE).await?,
            authority,
            servers,
            relay,
        })
    }

    async fn alone() -> Result<Self> {
        let authority = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        Self::start(authority, vec![server]).await
    }

    /// One handover of each session.
    async fn renew_leaf(&mut self) -> Result<()> {
        let Self {
            authority,
            servers,
            relay,
            sessions,
        } = self;
        let renew = |relay: &mut Relay| relay.renew(authority);
        sessions.moved(relay, servers, renew).await
    }

    /// With an overlap, as operators do it: three handovers of each session.
    async fn renew_authority(&mut self) -> Result<()> {
        let next = Authority::new("next root");
        let both = self.authority.root_pem() + &next.root_pem();
        for server in &mut self.servers {
            server.write_client_roots(&both)?;
            server.reload().await?;
        }
        self.trust(&both).await?;
        self.authority = next;
        self.renew_leaf().await?;
        let identity = self.authority.issue(&LeafSpec::server());
        for server in &mut self.servers {
            server.write_identity(&identity)?;
            server.reload().await?;
        }
        let root = self.authority.root_pem();
        self.trust(&root).await?;
        for server in &mut self.servers {
            server.write_client_roots(&root)?;
            server.reload().await?;
        }
        Ok(())
    }

    async fn trust(&mut self, roots: &str) -> Result<()> {
        let trust = |relay: &mut Relay| relay.trust(roots);
        let sessions = &mut self.sessions;
        sessions.moved(&mut self.relay, &self.servers, trust).await
    }

    /// Until there were so many handovers, one renewal of the authority for each four of the leaf.
    async fn hand_over(mut self, times: usize) -> Result<Outcome> {
        let server_of = |scene: &Self| -> Vec<_> {
            let places = scene.sessions.places().values();
            places.map(|(server, _)| *server).collect()
        };
        let servers = server_of(&self);
        for round in 0..times.div_ceil(SESSIONS * 7) {
            for _ in 0..4 {
                self.renew_leaf().await?;
            }
            self.renew_authority().await?;
            assert_eq!(server_of(&self), servers, "round {round}: another server");
        }
        self.sessions.finish().await
    }
}

/// Beside the relay, straight to the server.
fn peer(authority: &Authority, server: &NatsServer) -> Result<Endpoint> {
    let identity = authority.issue(&LeafSpec::client("peer"));
    let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
    Ok(Endpoint::tls(server.port(), config))
}

fn nothing_is_wrong(outcome: &Outcome) {
    let stalls = Sample::new(outcome.stalls().iter().map(Duration::as_secs_f64));
    println!(
        "{} handovers, {} messages; longest stalls: median {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        outcome.handovers,
        outcome.up().plus(outcome.down()).received,
        stalls.median() * 1e3,
        stalls.quantile(0.99) * 1e3,
        stalls.max() * 1e3
    );
    assert_eq!(outcome.up().wrong(), 0, "up: {:?}", outcome.up());
    assert_eq!(outcome.down().wrong(), 0, "down: {:?}", outcome.down());
    assert!(stalls.quantile(0.99) < LONGEST.as_secs_f64());
}

fn handovers() -> usize {
    if long() { 500 } else { 28 }
}

#[tokio::test]
async fn on_one_server() -> Result<()> {
    let outcome = Scene::alone().await?.hand_over(handovers()).await?;
    assert!(outcome.handovers >= handovers());
    nothing_is_wrong(&outcome);
    Ok(())
}

#[tokio::test]
async fn on_a_cluster_of_three() -> Result<()> {
    let authority = Authority::new("root");
    let servers = NatsServer::start_cluster(ServerSettings::new(&authority), 3).await?;
    let scene = Scene::start(authority, servers).await?;
    let outcome = scene.hand_over(handovers()).await?;
    assert!(outcome.handovers >= handovers());
    nothing_is_wrong(&outcome);
    Ok(())
}

/// What the handover is worth, and proof that the ledgers can fail: a client that reconnects by
/// itself, announced and in good order, misses what others publish until it is back.
#[tokio::test]
async fn a_rotation_that_reconnects_instead_does_lose_messages() -> Result<()> {
    const TIMES: u64 = 2;
    let authority = Authority::new("root");
    let servers = [NatsServer::start(ServerSettings::new(&authority)).await?];
    let reconnect = |agent: AgentCommand| agent.flag("--rotation", "reconnect");
    let mut relay = Relay::start(&authority, &servers, reconnect).await?;
    let notices = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&notices);
    let options = ConnectOptions::new()
        .name("library")
        .event_callback(move |event| {
            if event == async_nats::Event::LameDuckMode {
                count.fetch_add(1, Relaxed);
            }
            std::future::ready(())
        });
    let client = options.connect(relay.url()).await?;
    let topic = Topic {
        name: "library".to_owned(),
        rate: RATE,
        size: 128,
    };
    let peer = peer(&authority, &servers[0])?;
    let talk = LibraryConversation::start(client, &peer, &topic, Clock::start()).await?;
    let mut at = places(&servers, std::slice::from_ref(&topic.name), None).await?;
    for _ in 0..TIMES {
        relay.renew(&authority)?;
        at = relay.moved(&servers, &at, Duration::from_secs(30)).await?;
    }
    let handovers = relay.agent.status().await?["relay"]["handovers"].clone();
    assert_eq!(handovers["fallback_reasons"]["configured"], TIMES);
    assert_eq!(
        (&handovers["ok"], &handovers["failed"]),
        (&0.into(), &0.into())
    );
    assert_eq!(notices.load(Relaxed), TIMES);
    let down = talk.finish().await?.down;
    assert!(down.lost > 0, "{down:?}");
    assert_eq!(down.wrong(), down.lost, "{down:?}");
    Ok(())
}
