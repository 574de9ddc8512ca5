//! The load generator itself, against a server directly: it finds nothing wrong where nothing is,
//! and what is wrong where something is.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use async_nats::ConnectOptions;
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::load::library::LibraryConversation;
use nats_mtls_tests::load::requests::{Requests, Responder};
use nats_mtls_tests::load::tunnel::Tunnel;
use nats_mtls_tests::load::{Clock, Conversation, Endpoint, Topic};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::server::{HandshakeFirst, NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use rustls::ClientConfig;

const RATE: f64 = 20_000.0;
/// Each way.
const MESSAGES: u64 = 20_000;

struct Bench {
    authority: Authority,
    identity: Identity,
    server: NatsServer,
}

impl Bench {
    async fn start(when: HandshakeFirst) -> Result<Self> {
        let authority = Authority::new("root");
        Ok(Self {
            identity: authority.issue(&LeafSpec::client("load")),
            server: NatsServer::start(ServerSettings::new(&authority).handshake_first(when))
                .await?,
            authority,
        })
    }

    fn config(&self) -> Result<ClientConfig> {
        TlsVersion::Tls13.fixed_config(&self.identity, &self.authority.root_pem())
    }

    fn direct(&self) -> Result<Endpoint> {
        Ok(Endpoint::tls(self.server.port(), self.config()?))
    }
}

fn topic() -> Topic {
    Topic {
        name: "orders".to_owned(),
        rate: RATE,
        size: 128,
    }
}

async fn talk(conversation: Conversation) -> Result<nats_mtls_tests::load::Verdict> {
    eventually(PATIENCE, "enough was said", || async {
        let (up, down) = conversation.received();
        Ok((up.min(down) >= MESSAGES).then_some(()))
    })
    .await?;
    conversation.finish().await
}

#[tokio::test]
async fn everything_comes_once_and_in_order_where_nothing_is_between() -> Result<()> {
    let bench = Bench::start(HandshakeFirst::Never).await?;
    let first = Bench::start(HandshakeFirst::Always).await?;
    let tls_first = Endpoint::tls_first(first.server.port(), first.config()?);
    for (bench, endpoint) in [(&bench, bench.direct()?), (&first, tls_first)] {
        let clock = Clock::start();
        let talking = Conversation::start(&endpoint, &endpoint, &topic(), clock)?;
        assert_eq!(bench.server.connections().await?.len(), 2);
        let verdict = talk(talking).await?;
        assert_eq!(verdict.up.plus(verdict.down).wrong(), 0, "{verdict:?}");
        assert!(verdict.up.received >= MESSAGES && verdict.down.received >= MESSAGES);
    }
    Ok(())
}

/// A server of a cluster hears later than its neighbour what a client of that one subscribes to.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_because_interest_travels() -> Result<()> {
    let authority = Authority::new("root");
    let settings = ServerSettings::new(&authority);
    let (servers, routes) = NatsServer::start_tunnelled_cluster(settings, 2).await?;
    routes.delay(0, 1, Duration::from_millis(30));
    let identity = authority.issue(&LeafSpec::client("load"));
    let endpoint = |server: &NatsServer| {
        let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
        Ok::<_, anyhow::Error>(Endpoint::tls(server.port(), config))
    };
    let [session, peer] = [endpoint(&servers[0])?, endpoint(&servers[1])?];
    let talking = Conversation::start(&session, &peer, &topic(), Clock::start())?;
    let verdict = talk(talking).await?;
    assert_eq!(verdict.up.plus(verdict.down).wrong(), 0, "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn a_delay_is_seen_as_a_delay_and_as_nothing_else() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(30);
    let bench = Bench::start(HandshakeFirst::Never).await?;
    let server = (Ipv4Addr::LOCALHOST, bench.server.port()).into();
    let tunnel = Tunnel::open(server, DELAY).await?;
    let delayed = Endpoint::tls(tunnel.port(), bench.config()?);
    let direct = bench.direct()?;
    // Connecting blocks, and the tunnel lives on this thread's runtime.
    let talking = tokio::task::spawn_blocking(move || {
        let clock = Clock::start();
        Conversation::start(&delayed, &direct, &topic(), clock)
    });
    let verdict = talk(talking.await??).await?;
    assert_eq!(verdict.up.plus(verdict.down).wrong(), 0, "{verdict:?}");
    let longest = verdict.longest_stall(Duration::ZERO, Duration::MAX);
    assert!(longest >= DELAY, "the first message took {longest:?}");
    Ok(())
}

#[tokio::test]
async fn a_forced_reconnect_is_seen_to_lose_messages() -> Result<()> {
    let bench = Bench::start(HandshakeFirst::Never).await?;
    let files = PlainFiles::new(&Contents::new(&bench.identity, &bench.authority.root_pem()))?;
    let client = ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(files.path(Part::Roots))
        .add_client_certificate(files.path(Part::Certificate), files.path(Part::Key))
        .connect(bench.server.url())
        .await?;
    let clock = Clock::start();
    let talking =
        LibraryConversation::start(client.clone(), &bench.direct()?, &topic(), clock).await?;
    for connects in 2..=6 {
        client.force_reconnect().await?;
        eventually(PATIENCE, "reconnected", || async {
            let now = client
                .statistics()
                .connects
                .load(std::sync::atomic::Ordering::Relaxed);
            Ok((now >= connects).then_some(()))
        })
        .await?;
    }
    let verdict = talking.finish().await?;
    assert!(verdict.down.lost > 0, "{verdict:?}");
    assert_eq!(verdict.down.damaged + verdict.up.damaged, 0, "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn a_round_trip_counts_from_when_it_was_due() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(30);
    let bench = Bench::start(HandshakeFirst::Never).await?;
    let server = (Ipv4Addr::LOCALHOST, bench.server.port()).into();
    let tunnel = Tunnel::open(server, DELAY).await?;
    let _responder = Responder::open(&bench.direct()?, "echo")?;
    let delayed = Endpoint::tls(tunnel.port(), bench.config()?);
    // Far more often than round trips fit one after another.
    let requests = Requests {
        rate: 1_000.0,
        count: 500,
        size: 128,
    };
    let trips = tokio::task::spawn_blocking(move || requests.run(&delayed, "echo")).await??;
    let (least, most) = (trips.quantile(0.001), trips.quantile(0.99));
    assert!(least >= 60_000.0, "{least} µs");
    assert!(most < 5_000_000.0, "{most} µs: they must not queue up");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_route_between_two_servers_delays_and_loses_nothing() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(30);
    let authority = Authority::new("root");
    let settings = ServerSettings::new(&authority);
    let (servers, routes) = NatsServer::start_tunnelled_cluster(settings, 3).await?;
    let identity = authority.issue(&LeafSpec::client("load"));
    let endpoint = |server: usize| -> Result<Endpoint> {
        let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
        Ok(Endpoint::tls(servers[server].port(), config))
    };
    // What two clients of different servers need before they hear each other.
    let interest_has_spread = |subject: &'static str, server: usize| {
        let url = servers[server].monitoring_url("/routez?subs=1");
        eventually(PATIENCE, "interest has spread", move || {
            let url = url.clone();
            async move {
                let text = nats_mtls_tests::http::get(&url).await?.body;
                Ok(text.contains(subject).then_some(()))
            }
        })
    };
    let _ear = Responder::open(&endpoint(0)?, "echo")?;
    interest_has_spread("echo", 2).await?;
    let requests = Requests {
        rate: 200.0,
        count: 100,
        size: 128,
    };
    let round_trips =
        |server: usize| -> Result<f64> { Ok(requests.run(&endpoint(server)?, "echo")?.median()) };
    assert!(round_trips(2)? < 30_000.0);
    routes.delay(0, 2, DELAY);
    assert!(round_trips(2)? >= 60_000.0, "there and back");
    assert!(round_trips(1)? < 30_000.0, "the other route is as it was");
    Ok(())
}
