//! The harness itself: a guard that lies would make every promise worthless.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::{Client, ConnectOptions, jetstream};
use futures_util::StreamExt as _;
use nats_mtls_tests::http;
use nats_mtls_tests::logs::LogCapture;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::server::{HandshakeFirst, NatsServer, ServerSettings, Verify};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

const NAME: &str = "harness";

fn options(identity: &Identity, roots_pem: &str) -> Result<ConnectOptions> {
    let config = TlsVersion::Tls13.fixed_config(identity, roots_pem)?;
    Ok(ConnectOptions::new()
        .name(NAME)
        .require_tls(true)
        .tls_client_config(config))
}

async fn connect(
    server: &NatsServer,
    authority: &Authority,
    identity: &Identity,
) -> Result<Client> {
    let options = options(identity, &authority.root_pem())?;
    Ok(options.connect(server.url()).await?)
}

#[tokio::test]
async fn a_stream_outlives_a_restart_on_the_same_port() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client("orders"));
    let mut server = NatsServer::start(ServerSettings::new(&authority).jet_stream()).await?;
    let url = server.url();
    let client = connect(&server, &authority, &identity).await?;
    let jet_stream = jetstream::new(client);
    jet_stream
        .create_stream(jetstream::stream::Config {
            name: "orders".into(),
            storage: jetstream::stream::StorageType::File,
            ..Default::default()
        })
        .await?;
    jet_stream.publish("orders", "one".into()).await?.await?;

    server.restart().await?;
    assert_eq!(server.url(), url);
    eventually(PATIENCE, "the stream is back", || async {
        let mut stream = jet_stream.get_stream("orders").await?;
        Ok((stream.info().await?.state.messages == 1).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_reload_takes_new_roots_and_keeps_connected_clients() -> Result<()> {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut server = NatsServer::start(ServerSettings::new(&old)).await?;
    let roots = old.root_pem() + &new.root_pem();
    let connected = options(&old.issue(&LeafSpec::client("a")), &roots)?
        .connect(server.url())
        .await?;
    let stranger = new.issue(&LeafSpec::client("b"));
    assert!(
        options(&stranger, &roots)?
            .connect(server.url())
            .await
            .is_err()
    );

    server.write_client_roots(&new.root_pem())?;
    server.write_identity(&new.issue(&LeafSpec::server()))?;
    server.reload().await?;
    options(&stranger, &roots)?.connect(server.url()).await?;
    connected.flush().await?;
    assert_eq!(
        connected
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );

    server.write_client_roots("not a certificate")?;
    let refused = server.reload().await;
    assert!(refused.is_err(), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_mapped_user_is_the_name_in_the_certificate() -> Result<()> {
    let authority = Authority::new("root").intermediate("issuing");
    let settings = ServerSettings::new(&authority)
        .user("orders@acme.example")
        .user("CN=billing,O=acme");
    let server = NatsServer::start(settings).await?;
    let by_email = LeafSpec::client("x").email("orders@acme.example").dns("y");
    let by_subject = LeafSpec::client("billing").organization("acme");
    for (spec, user) in [
        (by_email, "orders@acme.example"),
        (by_subject, "CN=billing,O=acme"),
    ] {
        let identity = authority.issue(&spec);
        let client = connect(&server, &authority, &identity).await?;
        let connection = server.sees(NAME, identity.fingerprint(), PATIENCE).await?;
        assert_eq!(connection.authorized_user, user);
        assert_eq!(
            connection.tls_peer_certs[0].spki_sha256,
            identity.spki_fingerprint()
        );
        client.drain().await?;
        eventually(PATIENCE, "the client has gone", || async {
            Ok(server.connections().await?.is_empty().then_some(()))
        })
        .await?;
    }
    let unknown = authority.issue(&LeafSpec::client("nobody"));
    let refused = connect(&server, &authority, &unknown).await.err();
    let refused = format!("{:?}", refused.context("was let in")?);
    assert!(refused.contains("uthorization"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_tells_its_clients_about_all_members() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client("orders"));
    let settings = ServerSettings::new(&authority)
        .jet_stream()
        .line("lame_duck_grace_period: \"100ms\"");
    let servers = NatsServer::start_cluster(settings, 3).await?;
    let client = connect(&servers[0], &authority, &identity).await?;
    assert_eq!(client.server_info().connect_urls.len(), 3);
    servers[0].lame_duck()?;
    let others = &servers[1..];
    eventually(PATIENCE, "the client has moved", || async {
        for server in others {
            if server.certificate_of(NAME).await?.as_deref() == Some(identity.fingerprint()) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
    .await
}

#[tokio::test]
async fn a_frozen_server_swallows_and_a_thawed_one_answers() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let client = connect(
        &server,
        &authority,
        &authority.issue(&LeafSpec::client("a")),
    )
    .await?;
    let mut echo = client.subscribe("echo").await?;
    client.flush().await?;
    server.freeze().await?;
    client.publish("echo", "ping".into()).await?;
    let answer = tokio::time::timeout(Duration::from_millis(300), echo.next()).await;
    assert!(answer.is_err(), "{answer:?}");
    server.thaw()?;
    tokio::time::timeout(PATIENCE, echo.next())
        .await?
        .context("closed")?;
    Ok(())
}

#[tokio::test]
async fn limits_and_handshake_first_are_what_the_server_does() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client("orders"));
    let settings = ServerSettings::new(&authority)
        .minimum_version(TlsVersion::Tls13)
        .handshake_first(HandshakeFirst::Always)
        .connection_rate_limit(1_000)
        .max_connections(1)
        .line("ping_interval: \"1s\"");
    let server = NatsServer::start(settings).await?;
    let roots = authority.root_pem();
    let first = options(&identity, &roots)?
        .tls_first()
        .connect(server.url())
        .await?;
    let seen = server.sees(NAME, identity.fingerprint(), PATIENCE).await?;
    assert!(seen.tls_first);
    let second = options(&identity, &roots)?
        .tls_first()
        .connect(server.url())
        .await;
    assert!(second.is_err(), "a second connection in spite of the limit");
    drop(first);

    let old = TlsVersion::Tls12.fixed_config(&identity, &roots)?;
    let refused = ConnectOptions::new()
        .tls_client_config(old)
        .tls_first()
        .connect(server.url())
        .await;
    assert!(refused.is_err(), "TLS 1.2 in spite of min_version 1.3");
    Ok(())
}

#[tokio::test]
async fn without_verification_no_certificate_is_asked_for() -> Result<()> {
    let authority = Authority::new("root");
    let mut server = NatsServer::start(ServerSettings::new(&authority).verify(Verify::Off)).await?;
    let identity = authority.issue(&LeafSpec::client("orders"));
    let _client = connect(&server, &authority, &identity).await?;
    let connection = eventually(PATIENCE, "connected", || server.connection(NAME)).await?;
    assert_eq!(connection.fingerprint(), None);

    server.reconfigure(|settings| settings.verify(Verify::Required).password_user("u", "p"))?;
    server.restart().await?;
    assert!(
        http::get(&server.monitoring_url("/varz"))
            .await?
            .body
            .contains("tls_verify")
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let authority = Authority::new("root");
    let settings = ServerSettings::new(&authority).line("no_such_setting: true");
    let error = NatsServer::start(settings).await.expect_err("it started");
    assert!(
        format!("{error:#}").contains("no_such_setting"),
        "{error:#}"
    );
}

#[tokio::test]
async fn the_capture_holds_records_of_tracing_and_of_rustls() -> Result<()> {
    let capture = LogCapture::install()?;
    assert!(LogCapture::install().is_err());
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let identity = authority.issue(&LeafSpec::client("orders"));
    let _client = connect(&server, &authority, &identity).await?;
    tracing::trace!("a trace of tracing");
    let text = capture.text();
    assert!(text.contains("a trace of tracing"));
    assert!(text.contains("rustls::client"), "no record of rustls");
    assert_eq!(identity.leak_in(&text), None);
    Ok(())
}

#[tokio::test]
async fn nothing_happens_is_checked_for_the_whole_window() {
    let window = Duration::from_millis(100);
    let began = std::time::Instant::now();
    throughout(window, "always", || async { Ok(true) })
        .await
        .expect("it holds");
    assert!(began.elapsed() >= window);
    let broken = throughout(window, "never", || async { Ok(false) }).await;
    assert!(broken.is_err());
    let late = eventually(window, "a thing", || async { Ok(None::<()>) }).await;
    assert!(late.expect_err("it cannot").to_string().contains("a thing"));
}

#[tokio::test]
async fn the_agent_is_built_and_runs() -> Result<()> {
    use nats_mtls_tests::agent::AgentCommand;
    // It may refuse the flag; what counts is that it was built, ran and ended by itself.
    let finished = AgentCommand::new("--version").run(PATIENCE).await?;
    assert!(finished.code.is_some(), "{finished:?}");
    Ok(())
}
