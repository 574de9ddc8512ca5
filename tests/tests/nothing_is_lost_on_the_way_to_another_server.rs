//! Promise 7 where a session has to leave its server: nothing lost and nothing repeated, also when
//! interest and messages of one server take 30 ms longer than those of the others. The order of
//! messages that took different routes is not promised, and not asked for here.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls_tests::load::Endpoint;
use nats_mtls_tests::load::sessions::Sessions;
use nats_mtls_tests::long;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::relay::Relay;
use nats_mtls_tests::server::{NatsServer, Routes, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};

const RATE: f64 = 20_000.0;
const DELAY: Duration = Duration::from_millis(30);
/// The peers are there, beside the two servers that the agent knows.
const PEERS: usize = 2;

/// Which route is long, seen from the session that moves.
#[derive(Debug, Clone, Copy)]
enum Long {
    /// What the old server sends comes late: its copies trail those of the new one.
    Old,
    /// What the new server learns and sends comes late.
    New,
}

async fn move_away(long: Long) -> Result<()> {
    let authority = Authority::new("root");
    let settings = ServerSettings::new(&authority)
        .line("lame_duck_grace_period: \"60s\"")
        .line("lame_duck_duration: \"90s\"");
    let (servers, routes) = NatsServer::start_tunnelled_cluster(settings, 3).await?;
    let mut relay = Relay::start(&authority, &servers[..PEERS], |agent| agent).await?;
    let identity = authority.issue(&LeafSpec::client("peer"));
    let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
    let peers = [Endpoint::tls(servers[PEERS].port(), config)];
    let mut sessions = Sessions::start(&relay, &servers, &peers, 1, RATE).await?;
    let [old] = server_of(&sessions)[..] else {
        unreachable!("one session");
    };
    let new = 1 - old;
    delay(&routes, long, old, new);
    // Told to leave, and to renew its certificate where it goes.
    servers[old].lame_duck()?;
    eventually(PATIENCE, "it refuses new clients", || async {
        let port = servers[old].port();
        let refused = std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
        Ok(refused.then_some(()))
    })
    .await?;
    sessions
        .moved(&mut relay, &servers, |relay| relay.renew(&authority))
        .await?;
    ensure!(
        server_of(&sessions) == [new],
        "it is at {:?}",
        sessions.places()
    );
    let outcome = sessions.finish().await?;
    let (up, down) = (outcome.up(), outcome.down());
    println!(
        "{long:?}: up {up:?}, down {down:?}, stalls {:?}",
        outcome.stalls()
    );
    for way in [up, down] {
        assert_eq!(
            way.wrong() - way.reordered,
            0,
            "{long:?}: up {up:?}, down {down:?}"
        );
    }
    Ok(())
}

fn server_of(sessions: &Sessions) -> Vec<usize> {
    let places = sessions.places().values();
    places.map(|(server, _)| *server).collect()
}

fn delay(routes: &Routes, long: Long, old: usize, new: usize) {
    let server = match long {
        Long::Old => old,
        Long::New => new,
    };
    routes.delay(server, PEERS, DELAY);
}

fn rounds() -> usize {
    if long() { 20 } else { 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_old_server_is_far_from_the_others() -> Result<()> {
    for _ in 0..rounds() {
        move_away(Long::Old).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_new_server_is_far_from_the_others() -> Result<()> {
    for _ in 0..rounds() {
        move_away(Long::New).await?;
    }
    Ok(())
}
