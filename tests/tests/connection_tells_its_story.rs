//! A connection tells its story: what was done to the server, what the connection's events say,
//! what its report counts, what the probes answer and what Prometheus scrapes are the same, asserted
//! exactly where that is possible.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nats_mtls::nats::{Cause, ConnectionState, ConnectionTotals};
use nats_mtls::report::{Liveness, NotReady};
use nats_mtls::{ConnectSettings, Connection, ConnectionEvent, StatusHandle};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::metrics::{Metrics, Scrape};
use nats_mtls_tests::network;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use tokio::sync::broadcast;

const ALL: &[(&str, &str)] = &[("component", NAME)];

async fn came_up(
    connection: &Connection,
    status: &StatusHandle,
    connects: u64,
) -> Result<ConnectionTotals> {
    let what = format!("up for the {connects}. time");
    let totals = eventually(PATIENCE, &what, || async {
        let report = connection.report();
        let up = report.state == ConnectionState::Connected && report.totals.connects >= connects;
        Ok(up.then_some(report.totals))
    })
    .await?;
    probes_say(status, None)?;
    Ok(totals)
}

async fn went_down(connection: &Connection, status: &StatusHandle) -> Result<()> {
    eventually(PATIENCE, "the outage is noticed", || async {
        let down = connection.report().state == ConnectionState::Disconnected;
        Ok(down.then_some(()))
    })
    .await?;
    probes_say(status, Some(NotReady::Disconnected))
}

/// Readiness is this; the process has started and is alive, whatever NATS does.
fn probes_say(status: &StatusHandle, not_ready: Option<NotReady>) -> Result<()> {
    let health = status.health();
    let right =
        health.not_ready == not_ready && health.started && health.liveness == Liveness::Alive;
    ensure!(right, "{health:?}");
    Ok(())
}

/// The causes of the disconnects, and the outages that followed them; an error if they do not
/// alternate.
fn outages(events: &mut broadcast::Receiver<ConnectionEvent>) -> Result<Vec<(Cause, Duration)>> {
    let mut outages = Vec::new();
    while let Ok(down) = events.try_recv() {
        let up = events.try_recv().context("down, and not up again")?;
        match (down, up) {
            (
                ConnectionEvent::Disconnected { cause },
                ConnectionEvent::Reconnected {
                    outage,
                    cause: same,
                    ..
                },
            ) if cause == same => outages.push((cause, outage)),
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(outages)
}

/// Metrics, report and events are the same story.
fn agree(scrape: &Scrape, totals: &ConnectionTotals, outages: &[(Cause, Duration)]) -> Result<()> {
    let count = u64::try_from(outages.len())?;
    assert_eq!(totals.disconnects.total(), count);
    assert_eq!(totals.reconnects.total(), count);
    assert_eq!(totals.connects, count + 1);
    assert_eq!(scrape.count("nats_mtls_connect_total", ALL)?, count + 1);
    let attempts = [("component", NAME), ("result", "ok")];
    assert_eq!(
        scrape.count("nats_mtls_connect_attempts_total", &attempts)?,
        count + 1
    );
    for cause in Cause::ALL {
        let labels = [("component", NAME), ("cause", cause.as_str())];
        let told = outages.iter().filter(|(told, _)| *told == cause).count();
        let told = u64::try_from(told)?;
        assert_eq!(totals.disconnects.of(cause), told, "{cause:?}");
        assert_eq!(totals.reconnects.of(cause), told, "{cause:?}");
        assert_eq!(scrape.count("nats_mtls_disconnect_total", &labels)?, told);
        assert_eq!(scrape.count("nats_mtls_reconnect_total", &labels)?, told);
    }
    assert_eq!(scrape.count("nats_mtls_outage_seconds_count", ALL)?, count);
    let sum = scrape.sum("nats_mtls_outage_seconds_sum", ALL)?;
    let told: Duration = outages.iter().map(|(_, outage)| *outage).sum();
    ensure!((sum - told.as_secs_f64()).abs() < 1e-6, "{sum} s, {told:?}");
    for bound in ["0.25", "1", "5", "30"] {
        let limit = Duration::from_secs_f64(bound.parse()?);
        let within = outages
            .iter()
            .filter(|(_, outage)| *outage <= limit)
            .count();
        let labels = [("component", NAME), ("le", bound)];
        let bucket = scrape.count("nats_mtls_outage_seconds_bucket", &labels)?;
        assert_eq!(bucket, u64::try_from(within)?, "up to {bound} s");
    }
    assert_eq!(scrape.count("nats_mtls_connection_up", ALL)?, 1);
    assert_eq!(scrape.count("nats_mtls_connection_closed_total", ALL)?, 0);
    Ok(())
}

#[tokio::test]
async fn ten_restarts_are_ten_outages() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut service = Service::start().await?;
    let began = Instant::now();
    let mut events = service.connection.events();
    let epoch = service.connection.reconnect_epoch();
    let status = service.manager.status_handle();
    let mut longest = Duration::ZERO;
    for restart in 1..=10 {
        let stopped = Instant::now();
        service.server.stop().await?;
        went_down(&service.connection, &status).await?;
        service.server.restart().await?;
        came_up(&service.connection, &status, restart + 1).await?;
        longest += stopped.elapsed();
    }
    assert_eq!(*epoch.borrow(), 10);
    let outages = outages(&mut events)?;
    ensure!(outages.iter().all(|(cause, _)| *cause == Cause::Network));
    let down: Duration = outages.iter().map(|(_, outage)| *outage).sum();
    ensure!(down <= longest, "{down:?} of outage in {longest:?}");
    let totals = service.connection.report().totals;
    let scrape = metrics.scrape(&status);
    agree(&scrape, &totals, &outages)?;
    // It was up whenever it was not down.
    let up = totals.up_time(Instant::now());
    let missing = (began.elapsed()).abs_diff(up + down);
    ensure!(missing < Duration::from_secs(1), "{up:?} up, {down:?} down");
    let seconds = scrape.count("nats_mtls_connection_up_seconds_total", ALL)?;
    ensure!(
        seconds.abs_diff(up.as_secs()) <= 1,
        "{seconds} s, {up:?} up"
    );
    Ok(())
}

struct InCluster {
    servers: Vec<NatsServer>,
    connection: Connection,
    status: StatusHandle,
    _volume: KubernetesVolume,
}

impl InCluster {
    async fn start(settings: impl FnOnce(ServerSettings) -> ServerSettings) -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client(NAME));
        let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
        let servers =
            NatsServer::start_cluster(settings(ServerSettings::new(&authority)), 3).await?;
        let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
        let manager = service::builder(&volume).build().await?;
        let settings = ConnectSettings::new().component(NAME);
        let connection = manager.connect(urls.join(","), settings).await?;
        Ok(Self {
            servers,
            connection,
            status: manager.status_handle(),
            _volume: volume,
        })
    }

    /// Where it is connected, as the servers see it.
    async fn home(&self) -> Result<usize> {
        eventually(PATIENCE, "a server has the connection", || async {
            for (position, server) in self.servers.iter().enumerate() {
                let seen = server.connection(NAME).await;
                if seen.is_ok_and(|connection| connection.is_some()) {
                    return Ok(Some(position));
                }
            }
            Ok(None)
        })
        .await
    }
}

#[tokio::test]
async fn only_the_loss_of_its_own_node_is_an_outage() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut cluster = InCluster::start(|server| server).await?;
    let mut events = cluster.connection.events();
    let home = cluster.home().await?;
    cluster.servers[home].kill();
    came_up(&cluster.connection, &cluster.status, 2).await?;
    let refuge = cluster.home().await?;
    ensure!(refuge != home);
    let other = 3 - home - refuge;
    cluster.servers[other].kill();
    throughout(Duration::from_secs(2), "nothing happens", || async {
        probes_say(&cluster.status, None)?;
        Ok(cluster.connection.report().totals.is_up())
    })
    .await?;
    cluster.servers[home].restart().await?;
    cluster.servers[other].restart().await?;

    let mut lost = 1;
    for position in 0..3 {
        lost += u64::from(cluster.home().await? == position);
        cluster.servers[position].restart().await?;
        came_up(&cluster.connection, &cluster.status, lost + 1).await?;
    }
    let outages = outages(&mut events)?;
    assert_eq!(u64::try_from(outages.len())?, lost);
    ensure!(outages.iter().all(|(cause, _)| *cause == Cause::Network));
    let totals = cluster.connection.report().totals;
    agree(&metrics.scrape(&cluster.status), &totals, &outages)
}

/// No RST, no FIN, no ACK, and new connections do not even get a refusal.
#[tokio::test]
async fn a_network_that_swallows_everything_is_noticed_by_the_pings() -> Result<()> {
    let test = "a_network_that_swallows_everything_is_noticed_by_the_pings";
    network::in_its_own(test, |network| async move {
        let swallow = async |_: &NatsServer| network.swallow().await;
        let restore = async |_: &NatsServer| network.restore().await.map(|_| ());
        silence_is_noticed_by_the_pings(swallow, restore).await
    })
    .await
}

/// The kernel goes on acknowledging and accepting, and nobody reads.
#[tokio::test]
async fn a_server_that_hangs_is_noticed_by_the_pings() -> Result<()> {
    let freeze = async |server: &NatsServer| server.freeze().await;
    let thaw = async |server: &NatsServer| server.thaw();
    silence_is_noticed_by_the_pings(freeze, thaw).await
}

/// 20 s of silence between `begin` and `end`, with a ping each 2 s.
async fn silence_is_noticed_by_the_pings(
    begin: impl AsyncFnOnce(&NatsServer) -> Result<()>,
    end: impl AsyncFnOnce(&NatsServer) -> Result<()>,
) -> Result<()> {
    const PING: Duration = Duration::from_secs(2);
    const SILENCE: Duration = Duration::from_secs(20);
    let metrics = Metrics::install()?;
    let settings = |settings: ConnectSettings| {
        settings
            .ping_interval(PING)
            .connect_timeout(Duration::from_secs(1))
    };
    let service = Service::start_with(|server| server, |manager| manager, settings).await?;
    let mut events = service.connection.events();
    let status = service.manager.status_handle();
    let silent = Instant::now();
    begin(&service.server).await?;
    probes_say(&status, None)?; // Nobody can know yet.
    went_down(&service.connection, &status).await?;
    let noticed = silent.elapsed();
    // On the third ping without an answer to the first.
    ensure!(
        noticed > 2 * PING && noticed < 5 * PING,
        "after {noticed:?}"
    );
    throughout(
        SILENCE.saturating_sub(silent.elapsed()),
        "down and alive",
        || async {
            probes_say(&status, Some(NotReady::Disconnected))?;
            Ok(!service.connection.report().totals.is_up())
        },
    )
    .await?;
    let report = service.connection.report();
    let error = report.last_error.context("an attempt failed")?;
    ensure!(error.contains("timed out"), "{error}");
    ensure!(report.totals.failed_attempts.network > 0);
    end(&service.server).await?;
    let totals = came_up(&service.connection, &status, 2).await?;
    let whole = silent.elapsed();
    let outages = outages(&mut events)?;
    let [(Cause::Network, outage)] = outages[..] else {
        anyhow::bail!("{outages:?}");
    };
    ensure!(
        outage <= whole - noticed + Duration::from_millis(100),
        "{outage:?}"
    );
    ensure!(
        outage + noticed + Duration::from_secs(1) >= whole,
        "{outage:?}"
    );
    let scrape = metrics.scrape(&status);
    agree(&scrape, &totals, &outages)?;
    let failed = [("component", NAME), ("result", "network")];
    assert_eq!(
        scrape.count("nats_mtls_connect_attempts_total", &failed)?,
        totals.failed_attempts.network
    );
    Ok(())
}
