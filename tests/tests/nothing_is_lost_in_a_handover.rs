//! Promise 7: under 20,000 numbered messages a second each way, sessions are moved to new
//! certificates, leaf and authority, and not one message is lost, repeated or out of order; the
//! clients keep their TCP connections, and nats-server shows the new certificate for each.
//!
//! `scripts/test --long` does it a thousand times.

use std::time::Duration;

use anyhow::Result;
use nats_mtls_tests::bench::Sample;
use nats_mtls_tests::load::Endpoint;
use nats_mtls_tests::load::sessions::{Outcome, Sessions};
use nats_mtls_tests::long;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::relay::Relay;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;

/// Messages a second each way, over all sessions.
const RATE: f64 = 20_000.0;
const SESSIONS: usize = 4;
/// Far above what a handover takes, far below what a time limit of the relay would add. The exact
/// bound is measured by `scripts/bench`, in release and on a machine that does nothing else.
const LONGEST: Duration = Duration::from_millis(250);

struct Scene {
    authority: Authority,
    servers: Vec<NatsServer>,
    relay: Relay,
    sessions: Sessions,
}

impl Scene {
    async fn start(authority: Authority, servers: Vec<NatsServer>, mode: &str) -> Result<Self> {
        let relay =
            Relay::start(&authority, &servers, |agent| agent.flag("--rotation", mode)).await?;
        let identity = authority.issue(&LeafSpec::client("peer"));
        let peers = servers
            .iter()
            .map(|server| {
                let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
                Ok(Endpoint::tls(server.port(), config))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            sessions: Sessions::start(&relay, &servers, &peers, SESSIONS, RATE).await?,
            authority,
            servers,
            relay,
        })
    }

    async fn alone(mode: &str) -> Result<Self> {
        let authority = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        Self::start(authority, vec![server], mode).await
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
    let outcome = Scene::alone("handover")
        .await?
        .hand_over(handovers())
        .await?;
    assert!(outcome.handovers >= handovers());
    nothing_is_wrong(&outcome);
    Ok(())
}

#[tokio::test]
async fn on_a_cluster_of_three() -> Result<()> {
    let authority = Authority::new("root");
    let servers = NatsServer::start_cluster(ServerSettings::new(&authority), 3).await?;
    let scene = Scene::start(authority, servers, "handover").await?;
    let outcome = scene.hand_over(handovers()).await?;
    assert!(outcome.handovers >= handovers());
    nothing_is_wrong(&outcome);
    Ok(())
}

/// What the handover is worth, and proof that the ledgers can fail.
#[tokio::test]
async fn a_rotation_that_reconnects_instead_does_lose_messages() -> Result<()> {
    let outcome = Scene::alone("reconnect").await?.hand_over(28).await?;
    assert!(outcome.down().lost > 0, "down: {:?}", outcome.down());
    Ok(())
}
