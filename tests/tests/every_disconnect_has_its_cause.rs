//! Why a connection went down, and what kept it down, is said by its events and counted by its
//! metrics. `rollback` is shown in `rolled_back.rs`, `rotation` everywhere.

use anyhow::{Context as _, Result, ensure};
use nats_mtls::nats::{Authentication, Cause, ConnectionState, Secret};
use nats_mtls::{ConnectSettings, Connection, ConnectionEvent};
use nats_mtls_tests::files::{Contents, KubernetesVolume, Part, PlainFiles};
use nats_mtls_tests::metrics::Metrics;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::sync::broadcast;

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

/// What the events say: why it went down, and what it was down for.
async fn told(events: &mut broadcast::Receiver<ConnectionEvent>) -> Result<(Cause, Cause)> {
    let ConnectionEvent::Disconnected { cause: down } = events.recv().await? else {
        anyhow::bail!("no disconnect");
    };
    match events.recv().await? {
        ConnectionEvent::Reconnected { cause, .. } => Ok((down, cause)),
        other => anyhow::bail!("{other:?}"),
    }
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
    let mut events = service.connection.events();
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
    assert_eq!(told(&mut events).await?, (Cause::Network, Cause::Auth));
    let scrape = metrics.scrape(&service.manager.status_handle());
    for (metric, cause) in [
        ("nats_mtls_disconnect_total", "network"),
        ("nats_mtls_reconnect_total", "auth"),
    ] {
        let labels = [("component", NAME), ("cause", cause)];
        assert_eq!(scrape.count(metric, &labels)?, 1, "{metric}");
        assert_eq!(scrape.count(metric, &[("component", NAME)])?, 1);
    }
    let refused = [("component", NAME), ("result", "auth")];
    let counted = scrape.count("nats_mtls_connect_attempts_total", &refused)?;
    assert_eq!(
        counted,
        service.connection.report().totals.failed_attempts.auth
    );
    Ok(())
}

/// A user that stays, but is not let in any more, is told so on its live connection.
#[tokio::test]
async fn a_password_that_is_changed_under_a_connection_is_told_by_the_server() -> Result<()> {
    const OLD: &str = "old password";
    let known = |server: ServerSettings| server.no_users().password_user("orders", OLD);
    let with_password = |settings: ConnectSettings| {
        settings.authentication(Authentication::UserPassword {
            user: "orders".to_owned(),
            password: Secret::new(OLD),
        })
    };
    let mut service = Service::start_with(known, |manager| manager, with_password).await?;
    let mut events = service.connection.events();
    service
        .server
        .reconfigure(|server| server.no_users().password_user("orders", "another one"))?;
    service.server.reload().await?;
    went_down_for(&service.connection, Cause::Auth).await?;
    service.server.reconfigure(known)?;
    service.server.reload().await?;
    is_up_again(&service.connection).await?;
    assert_eq!(told(&mut events).await?, (Cause::Auth, Cause::Auth));
    Ok(())
}

/// The servers' refusals are why it stays down, whatever it went down for: a restart here.
#[tokio::test]
async fn an_outage_that_goes_on_because_of_certificates_is_told_as_one_of_tls() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut service = Service::start().await?;
    let mut events = service.connection.events();
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
    assert_eq!(told(&mut events).await?, (Cause::Network, Cause::Tls));
    let report = service.connection.report();
    assert_eq!(report.last_error, None);
    assert_eq!(report.totals.reconnects.of(Cause::Tls), 1);
    assert_eq!(report.totals.reconnects.total(), 1);
    let scrape = metrics.scrape(&service.manager.status_handle());
    let tls = [("component", NAME), ("cause", "tls")];
    assert_eq!(scrape.count("nats_mtls_reconnect_total", &tls)?, 1);

    // The next outage is one of its own.
    service.server.restart().await?;
    assert_eq!(told(&mut events).await?, (Cause::Network, Cause::Network));
    Ok(())
}

/// Of two servers one refuses: the outage lasts as long as the other one is away, and is told by the
/// refusal, because without it there would have been none to speak of.
#[tokio::test]
async fn a_cluster_of_which_one_server_refuses_is_told_as_one_of_tls() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(NAME));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let mut good = NatsServer::start(ServerSettings::new(&authority)).await?;
    let others = Authority::new("somebody else").root_pem();
    let refuses = ServerSettings::new(&authority).with_client_roots(&others);
    let refuses = NatsServer::start(refuses).await?;
    let manager = service::builder(&volume).build().await?;
    let urls = format!("{},{}", good.url(), refuses.url());
    let settings = ConnectSettings::new().component(NAME);
    let connection = manager.connect(urls, settings).await?;
    let mut events = connection.events();
    good.stop().await?;
    eventually(PATIENCE, "the other one refuses", || async {
        // The first connection may have begun with it.
        let refused = connection.report().totals.failed_attempts.tls > 1;
        Ok(refused.then_some(()))
    })
    .await?;
    good.restart().await?;
    is_up_again(&connection).await?;
    assert_eq!(told(&mut events).await?, (Cause::Network, Cause::Tls));
    Ok(())
}

/// nats-server 2.15.1 cuts a client that does not read, and says why only in its own log.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_without_a_word() -> Result<()> {
    const MESSAGES: usize = 800;
    let small = |server: ServerSettings| {
        server
            .line("max_payload: 65536")
            .line("max_pending: 131072")
    };
    let service = Service::start_with(small, |manager| manager, |settings| settings).await?;
    let client = service.connection.client();
    let _subscription = client.subscribe("flood").await?;
    client.flush().await?;
    let mut events = service.connection.events();
    let publisher = std::thread::spawn({
        let (url, authority) = (service.server.url(), service.authority.root_pem());
        let identity = service.authority.issue(&LeafSpec::client("flood"));
        move || flood(&url, &identity, &authority, MESSAGES)
    });
    // Nothing of this process but that thread runs meanwhile, so nobody reads: this blocks the
    // runtime on purpose.
    let flooded = publisher.join();
    flooded.map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    let log = service.server.log();
    ensure!(log.contains("Slow Consumer Detected"), "{log}");
    went_down_for(&service.connection, Cause::Network).await?;
    is_up_again(&service.connection).await?;
    assert_eq!(told(&mut events).await?, (Cause::Network, Cause::Network));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn flood(url: &str, identity: &Identity, roots_pem: &str, messages: usize) -> Result<()> {
    let files = PlainFiles::new(&Contents::new(identity, roots_pem))?;
    let options = async_nats::ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(files.path(Part::Roots))
        .add_client_certificate(files.path(Part::Certificate), files.path(Part::Key));
    let client = options.connect(url).await?;
    let payload = bytes::Bytes::from(vec![b'x'; 60_000]);
    for _ in 0..messages {
        client.publish("flood", payload.clone()).await?;
    }
    // A round trip: the server has taken all of it.
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, "".into()).await?;
    futures_util::StreamExt::next(&mut echo)
        .await
        .context("cut off")?;
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
