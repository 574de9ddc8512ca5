//! Why a connection went down is said by its events and counted by its metrics, and both stay right
//! when async-nats loses events, which it does under pressure.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls::nats::{Cause, ConnectionState};
use nats_mtls::{ConnectSettings, Connection};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::metrics::Metrics;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

const BURST: usize = 500;

/// Waits until the only disconnect so far had this cause.
async fn went_down_for(connection: &Connection, cause: Cause) -> Result<()> {
    let totals = eventually(PATIENCE, "the connection goes down", || async {
        let totals = connection.report().totals;
        Ok((totals.disconnects.total() > 0).then_some(totals))
    })
    .await?;
    ensure!(totals.disconnects.of(cause) == 1, "{totals:?}");
    Ok(())
}

async fn is_up_again(connection: &Connection) -> Result<()> {
    eventually(PATIENCE, "up again", || async {
        let report = connection.report();
        let up = report.state == ConnectionState::Connected && report.totals.connects > 1;
        Ok(up.then_some(()))
    })
    .await
}

fn lame(server: ServerSettings) -> ServerSettings {
    server
        .line(r#"lame_duck_duration: "30s""#)
        .line(r#"lame_duck_grace_period: "2s""#)
}

#[tokio::test]
async fn a_lame_duck_is_left_before_it_shuts_down() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(NAME));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let servers = NatsServer::start_cluster(lame(ServerSettings::new(&authority)), 2).await?;
    let manager = service::builder(&volume).build().await?;
    let urls = format!("{},{}", servers[0].url(), servers[1].url());
    let settings = ConnectSettings::new().component(NAME);
    let connection = manager.connect(urls, settings).await?;
    let on_first = servers[0].connection(NAME).await?.is_some();
    servers[usize::from(!on_first)].lame_duck()?;
    went_down_for(&connection, Cause::LameDuck).await?;
    is_up_again(&connection).await?;
    let refuge = servers[usize::from(on_first)].connection(NAME).await?;
    ensure!(refuge.is_some(), "it is not on the other server");
    Ok(())
}

#[tokio::test]
async fn a_lame_duck_without_an_alternative_shuts_down_under_us() -> Result<()> {
    let mut service = Service::start_with(lame, |manager| manager, |settings| settings).await?;
    service.server.lame_duck()?;
    went_down_for(&service.connection, Cause::ServerShutdown).await?;
    service.server.restart().await?;
    is_up_again(&service.connection).await
}

/// nats-server 2.15.1 cuts a user that a reload took away without a word.
#[tokio::test]
async fn a_user_that_is_taken_away_is_told_by_the_attempts() -> Result<()> {
    let metrics = Metrics::install()?;
    let mapped = |server: ServerSettings| server.user("orders.example.com");
    let mut service = Service::start_with(mapped, |manager| manager, |settings| settings).await?;
    service
        .server
        .reconfigure(|server| server.no_users().user("somebody.example.com"))?;
    service.server.reload().await?;
    went_down_for(&service.connection, Cause::Network).await?;
    let said = eventually(PATIENCE, "an attempt is refused", || async {
        let report = service.connection.report();
        let refused = report.totals.failed_attempts.auth > 0;
        Ok(report.last_error.filter(|_| refused))
    })
    .await?;
    ensure!(said.contains("authorization violation"), "{said}");
    service
        .server
        .reconfigure(|server| mapped(server.no_users()))?;
    service.server.reload().await?;
    is_up_again(&service.connection).await?;
    let scrape = metrics.scrape(&service.manager.status_handle());
    let network = [("component", NAME), ("cause", "network")];
    assert_eq!(scrape.count("nats_mtls_reconnect_total", &network)?, 1);
    let refused = [("component", NAME), ("result", "auth")];
    let counted = scrape.count("nats_mtls_connect_attempts_total", &refused)?;
    assert_eq!(
        counted,
        service.connection.report().totals.failed_attempts.auth
    );
    Ok(())
}

#[tokio::test]
async fn an_outage_that_ends_in_refusals_keeps_its_cause_and_tells_the_refusal() -> Result<()> {
    let mut service = Service::start().await?;
    let ours = service.authority.root_pem();
    service.server.stop().await?;
    let others = Authority::new("somebody else").root_pem();
    service.server.write_client_roots(&others)?;
    service.server.restart().await?;
    let said = eventually(PATIENCE, "the certificate is refused", || async {
        let report = service.connection.report();
        let refused = report.totals.failed_attempts.tls > 0;
        Ok(report.last_error.filter(|_| refused))
    })
    .await?;
    ensure!(said.contains("refused the client certificate"), "{said}");
    went_down_for(&service.connection, Cause::Network).await?;
    service.server.write_client_roots(&ours)?;
    service.server.reload().await?;
    is_up_again(&service.connection).await?;
    let report = service.connection.report();
    assert_eq!(report.last_error, None);
    assert_eq!(report.totals.reconnects.of(Cause::Network), 1);
    Ok(())
}

#[tokio::test]
async fn an_end_that_was_asked_for_is_no_alarm() -> Result<()> {
    let metrics = Metrics::install()?;
    let service = Service::start().await?;
    let status = service.manager.status_handle();
    service.connection.drain(PATIENCE).await;
    let scrape = metrics.scrape(&status);
    let all = [("component", NAME)];
    let client = [("component", NAME), ("cause", "client")];
    assert_eq!(scrape.count("nats_mtls_disconnect_total", &client)?, 1);
    let up = scrape.sum("nats_mtls_connection_up", &all)?;
    ensure!(up.is_nan(), "{up} is what alerts page about");
    assert_eq!(scrape.count("nats_mtls_connection_closed_total", &all)?, 0);

    // A new connection of that name goes on counting.
    let settings = ConnectSettings::new().component(NAME);
    let again = service
        .manager
        .connect(service.server.url(), settings)
        .await?;
    let scrape = metrics.scrape(&status);
    assert_eq!(scrape.count("nats_mtls_connect_total", &all)?, 2);
    assert_eq!(scrape.count("nats_mtls_connection_up", &all)?, 1);
    drop(again);
    eventually(PATIENCE, "neither up nor missed", || async {
        let scrape = metrics.scrape(&status);
        let up = scrape.sum("nats_mtls_connection_up", &all)?;
        Ok(up.is_nan().then_some(()))
    })
    .await
}

/// The server says no 500 times at once, more often than the client's channel has room, and dies:
/// neither the disconnect nor anything else is told to us.
#[tokio::test]
async fn an_outage_behind_a_burst_of_lost_events_is_seen() -> Result<()> {
    let metrics = Metrics::install()?;
    let deny = |server: ServerSettings| {
        server.line(
            r#"authorization { users: [ { user: "orders.example.com", permissions: { publish: { deny: "denied" } } } ] }"#,
        ).verify(nats_mtls_tests::server::Verify::Mapped)
    };
    let mut service = Service::start_with(deny, |manager| manager, |settings| settings).await?;
    let mut events = service.connection.events();
    let client = service.connection.client().clone();
    for _ in 0..BURST {
        client.publish("denied", "".into()).await?;
    }
    client.flush().await?;
    // Nothing of this process runs while the server answers, so that all its answers are read at
    // once: this blocks the runtime on purpose.
    std::thread::sleep(Duration::from_millis(500));
    service.server.kill();
    std::thread::sleep(Duration::from_millis(50));
    went_down_for(&service.connection, Cause::Network).await?;
    assert_eq!(
        service.connection.report().state,
        ConnectionState::Disconnected
    );
    service.server.restart().await?;
    is_up_again(&service.connection).await?;
    throughout(Duration::from_millis(500), "one outage", || async {
        let totals = service.connection.report().totals;
        Ok(totals.connects == 2 && totals.disconnects.total() == 1)
    })
    .await?;
    ensure!(events.len() == 2, "{:?}", events.try_recv());
    let scrape = metrics.scrape(&service.manager.status_handle());
    let all = [("component", NAME)];
    assert_eq!(scrape.count("nats_mtls_outage_seconds_count", &all)?, 1);
    Ok(())
}

#[tokio::test]
async fn five_hundred_forced_reconnects_are_all_counted() -> Result<()> {
    let metrics = Metrics::install()?;
    let service = Service::start().await?;
    let client = service.connection.client().clone();
    for _ in 0..BURST {
        client.force_reconnect().await?;
    }
    // async-nats makes one of those that it finds in its queue together: how many, it counts.
    let truth = || {
        client
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::SeqCst)
    };
    eventually(PATIENCE, "the dust settles", || async {
        let before = truth();
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok((truth() == before).then_some(()))
    })
    .await?;
    let connects = truth();
    ensure!(connects > 2, "only {connects} connects");
    let totals = eventually(PATIENCE, "all are counted", || async {
        let report = service.connection.report();
        let up = report.state == ConnectionState::Connected;
        Ok(Some(report.totals).filter(|totals| up && totals.connects == connects))
    })
    .await?;
    assert_eq!(totals.disconnects.total(), connects - 1);
    assert_eq!(totals.reconnects.total(), connects - 1);
    assert_eq!(*service.connection.reconnect_epoch().borrow(), connects - 1);
    let scrape = metrics.scrape(&service.manager.status_handle());
    let all = [("component", NAME)];
    assert_eq!(
        scrape.count("nats_mtls_outage_seconds_count", &all)?,
        connects - 1
    );
    Ok(())
}
