//! Promise 7 for a Rust service: with `ConnectSettings::handover()` its client goes through a
//! private relay, and in a rotation under load nothing is lost, repeated or out of order in either
//! direction. What the client cannot see is told all the same, and nobody else gets through.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use nats_mtls::nats::{Authentication, Cause, ConnectionState, FailureKind, Secret};
use nats_mtls::{ConnectSettings, Connection, ConnectionEvent, StartupPolicy};
use nats_mtls_tests::doorman::Doorman;
use nats_mtls_tests::files::Contents;
use nats_mtls_tests::http;
use nats_mtls_tests::load::library::LibraryConversation;
use nats_mtls_tests::load::tunnel::Tunnel;
use nats_mtls_tests::load::{Clock, Endpoint, Topic};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

/// Messages a second, each way.
const RATE: f64 = 10_000.0;
const MOMENT: Duration = Duration::from_millis(200);

async fn service(server: impl FnOnce(ServerSettings) -> ServerSettings) -> Result<Service> {
    Service::start_with(server, |manager| manager, ConnectSettings::handover).await
}

/// Until the server shows this very certificate, and the library says that it is the active one.
async fn moved(service: &Service) -> Result<()> {
    let fingerprint = service.identity.fingerprint();
    service.server.sees(NAME, fingerprint, PATIENCE).await?;
    let active = service.manager.snapshot().generation();
    let reached = timeout(PATIENCE, service.connection.reached(active)).await?;
    ensure!(reached, "{:?}", service.connection.report());
    let report = service.connection.report();
    let leaf = report.client_leaf.context("presented")?;
    ensure!(leaf.fingerprint_sha256.to_string() == fingerprint);
    // The oracle and the report speak of one connection.
    let seen = service.server.connection(NAME).await?.context("seen")?;
    ensure!(report.client_id == Some(seen.cid), "{:?}", report.client_id);
    ensure!(report.last_error.is_none(), "{:?}", report.last_error);
    Ok(())
}

fn connects(connection: &Connection) -> u64 {
    let statistics = connection.client().statistics();
    statistics
        .connects
        .load(std::sync::atomic::Ordering::SeqCst)
}

/// The next event; that the connection is up for the first time may be told late.
async fn next(events: &mut Receiver<ConnectionEvent>) -> Result<ConnectionEvent> {
    loop {
        match timeout(PATIENCE, events.recv()).await?? {
            ConnectionEvent::Connected { .. } => {}
            event => return Ok(event),
        }
    }
}

fn nothing_happened(events: &mut Receiver<ConnectionEvent>) {
    while let Ok(event) = events.try_recv() {
        let is_first = matches!(event, ConnectionEvent::Connected { .. });
        assert!(is_first, "the service was told {event:?}");
    }
}

async fn relay_address(connection: &Connection) -> Result<SocketAddr> {
    let pool = connection.client().server_pool().await?;
    let [server] = pool.as_slice() else {
        anyhow::bail!("{pool:?}");
    };
    let address = format!("{}:{}", server.addr.host(), server.addr.port());
    Ok(address.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_while_leaf_and_authority_are_renewed() -> Result<()> {
    let mut service = service(|server| server).await?;
    let mut events = service.connection.events();
    let peer = service.authority.issue(&LeafSpec::client("peer"));
    let config = TlsVersion::Tls13.fixed_config(&peer, &service.authority.root_pem())?;
    let peer = Endpoint::tls(service.server.port(), config);
    let topic = Topic {
        name: "service".into(),
        rate: RATE,
        size: 128,
    };
    let client = service.connection.client().clone();
    let talk = LibraryConversation::start(client, &peer, &topic, Clock::start()).await?;

    for _ in 0..5 {
        service.renew()?;
        moved(&service).await?;
    }
    // With an overlap, as operators do it.
    let next = Authority::new("next root");
    let both = service.authority.root_pem() + &next.root_pem();
    service.server.write_client_roots(&both)?;
    service.server.reload().await?;
    let identity = service.identity.clone();
    service.volume.update(&Contents::new(&identity, &both))?;
    eventually(PATIENCE, "both roots are trusted", || async {
        Ok((service.generation() == 7).then_some(()))
    })
    .await?;
    moved(&service).await?;
    let identity = next.issue(&LeafSpec::client(NAME).dns("orders.example.com"));
    service.volume.update(&Contents::new(&identity, &both))?;
    service.identity = identity;
    moved(&service).await?;
    let before = service.connection.report().client_id;
    service
        .server
        .write_identity(&next.issue(&LeafSpec::server()))?;
    service.server.reload().await?;
    service.authority = next;
    service.write(service.identity.clone())?;
    eventually(PATIENCE, "moved for the roots alone", || async {
        Ok((service.connection.report().client_id != before).then_some(()))
    })
    .await?;
    moved(&service).await?;
    assert_eq!(service.generation(), 9);

    let verdict = talk.finish().await?;
    println!("up {:?}, down {:?}", verdict.up, verdict.down);
    assert_eq!(verdict.up.wrong(), 0, "up: {:?}", verdict.up);
    assert_eq!(verdict.down.wrong(), 0, "down: {:?}", verdict.down);
    assert_eq!(connects(&service.connection), 1);
    assert_eq!(*service.connection.reconnect_epoch().borrow(), 0);
    nothing_happened(&mut events);
    let relay = service.manager.status().relay.context("a relay")?;
    assert_eq!((relay.handovers.ok, relay.handovers.failed), (8, 0));
    // One question for each new set: the relay asks none of its own.
    let closed = service.server.closed_connections().await?;
    let asked = closed.iter().filter(|it| it.name.contains("preflight"));
    assert_eq!(asked.count(), 8);
    Ok(())
}

#[tokio::test]
async fn a_server_that_goes_is_an_outage_although_the_client_stays() -> Result<()> {
    let mut service = service(|server| server).await?;
    let mut events = service.connection.events();
    let epoch = service.connection.reconnect_epoch();
    let mut inbox = service.connection.client().subscribe("orders.>").await?;
    service.server.kill();
    let event = next(&mut events).await?;
    let cause = Cause::Network;
    assert_eq!(event, ConnectionEvent::Disconnected { cause });
    let status = service.manager.status();
    assert_eq!((status.ready, status.reason), (false, Some("disconnected")));
    eventually(PATIENCE, "it says why", || async {
        let report = service.connection.report();
        ensure!(report.state == ConnectionState::Disconnected, "{report:?}");
        let error = report.last_error.unwrap_or_default();
        let said = error.contains("localhost:") && error.contains("refused");
        Ok((said && report.totals.failed_attempts.network > 0).then_some(()))
    })
    .await?;
    // Held, not lost.
    service
        .connection
        .client()
        .publish("orders.held", "".into())
        .await?;

    service.server.restart().await?;
    let event = next(&mut events).await?;
    assert!(
        matches!(
            event,
            ConnectionEvent::Reconnected {
                cause: Cause::Network,
                ..
            }
        ),
        "{event:?}"
    );
    let held = timeout(PATIENCE, inbox.next()).await?.context("ended")?;
    assert_eq!(held.subject.as_str(), "orders.held");
    assert_eq!(*epoch.borrow(), 1, "whoever depends on it has to look");
    assert_eq!(service.connection.report().connects, 2);
    assert_eq!(connects(&service.connection), 1, "for the client");
    assert!(service.manager.status().ready);
    service.renew()?;
    moved(&service).await
}

/// The connection in use is lost while the client is on its way to another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_in_the_middle_of_a_handover_is_an_outage_like_any_other() -> Result<()>
{
    /// Long enough to find out how far the handover has come.
    const LONG: Duration = Duration::from_millis(300);
    let unasked = |manager: nats_mtls::ManagerBuilder| manager.preflight(false);
    let mut service = Service::start_with(|s| s, unasked, |settings| settings).await?;
    let target = (Ipv4Addr::LOCALHOST, service.server.port()).into();
    let tunnel = Tunnel::open(target, Duration::ZERO).await?;
    let settings = ConnectSettings::new().component("far").handover();
    let url = format!("tls://localhost:{}", tunnel.port());
    let connection = service.manager.connect(url, settings).await?;
    let mut events = connection.events();
    let mut inbox = connection.client().subscribe("far.>").await?;
    connection.client().flush().await?;
    tunnel.spare_those_that_are_there();
    tunnel.set_delay(LONG);
    service.renew()?;
    let new = service.identity.fingerprint().to_owned();
    eventually(PATIENCE, "the new connection has subscribed", || async {
        let all = service.server.connections().await?;
        let mut new = all.iter().filter(|it| it.fingerprint() == Some(&*new));
        Ok(new
            .any(|it| it.name == "far" && it.subscriptions > 0)
            .then_some(()))
    })
    .await?;
    service.server.kill();
    let event = next(&mut events).await?;
    let cause = Cause::Network;
    assert_eq!(event, ConnectionEvent::Disconnected { cause });
    tunnel.set_delay(Duration::ZERO);
    service.server.restart().await?;
    let event = next(&mut events).await?;
    assert!(
        matches!(event, ConnectionEvent::Reconnected { .. }),
        "{event:?}"
    );
    service.server.sees("far", &new, PATIENCE).await?;
    connection.client().publish("far.after", "".into()).await?;
    let message = timeout(PATIENCE, inbox.next()).await?.context("ended")?;
    assert_eq!(message.subject.as_str(), "far.after");
    assert_eq!(connects(&connection), 1);
    Ok(())
}

#[tokio::test]
async fn a_set_that_the_server_refuses_moves_nothing() -> Result<()> {
    let mut service = service(|server| server).await?;
    let before = service.connection.report();
    let foreign =
        Authority::new("foreign").issue(&LeafSpec::client(NAME).dns("orders.example.com"));
    service.write(foreign)?;
    eventually(PATIENCE, "refused", || async {
        let last = service.manager.status().last_rejection;
        Ok(last.filter(|last| last.reason == "server_refused"))
    })
    .await?;
    let report = service.connection.report();
    assert_eq!(report.client_id, before.client_id);
    assert_eq!(report.generation, before.generation);
    assert!(service.manager.status().ready);
    service.renew()?;
    moved(&service).await
}

/// Published all the same: nobody was asked. The relay keeps what works, and the set is taken back.
#[tokio::test]
async fn a_set_that_no_server_takes_is_rolled_back_and_the_connection_stays() -> Result<()> {
    let unasked = |manager: nats_mtls::ManagerBuilder| manager.preflight(false);
    let mut service = Service::start_with(|s| s, unasked, ConnectSettings::handover).await?;
    let mut events = service.connection.events();
    let before = service.connection.report();
    let foreign =
        Authority::new("foreign").issue(&LeafSpec::client(NAME).dns("orders.example.com"));
    service.write(foreign)?;
    eventually(PATIENCE, "rolled back", || async {
        let (status, report) = (service.manager.status(), service.connection.report());
        ensure!(status.rolled_back_from == Some(2), "{report:?}");
        Ok(Some(()))
    })
    .await?;
    // The same certificate again, in a generation of its own.
    let active = service.manager.snapshot().generation();
    assert!(timeout(PATIENCE, service.connection.reached(active)).await?);
    let report = service.connection.report();
    assert_eq!(report.client_leaf, before.client_leaf);
    assert!(
        report.totals.failed_attempts.tls >= 2,
        "{:?}",
        report.totals
    );
    assert_eq!(connects(&service.connection), 1);
    nothing_happened(&mut events);
    Ok(())
}

/// What a process of another user on this machine can do: nothing, and the server does not even
/// hear of it.
#[tokio::test]
async fn nobody_else_gets_through_the_relay() -> Result<()> {
    let mut service = service(|server| server).await?;
    let address = relay_address(&service.connection).await?;
    assert!(address.ip().is_loopback());
    let before = connections_ever(&service.server).await?;
    for connect in [
        "CONNECT {}\r\n",
        "CONNECT {\"auth_token\":\"guess\"}\r\n",
        "CONNECT {\"user\":\"orders\",\"pass\":\"guess\"}\r\n",
        "SUB > 1\r\n",
    ] {
        let mut stranger = TcpStream::connect(address).await?;
        stranger.write_all(connect.as_bytes()).await?;
        stranger.write_all(b"PING\r\nSUB > 1\r\nPING\r\n").await?;
        let mut heard = Vec::new();
        // The end may be a reset: there is more than was wanted to be read.
        timeout(PATIENCE, stranger.read_to_end(&mut heard))
            .await?
            .ok();
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.starts_with("INFO {"), "{heard}");
        assert!(!heard.contains("PONG"), "{heard}");
    }
    assert_eq!(connections_ever(&service.server).await?, before);
    let relay = service.manager.status().relay.context("a relay")?;
    assert_eq!(relay.sessions_total["unauthorized"], 3);
    assert_eq!(relay.sessions_total["accepted"], 1);
    assert_eq!(relay.listen, None, "it is for nobody else");
    // The one whom it is for does not feel it.
    service.renew()?;
    moved(&service).await?;
    assert_eq!(connects(&service.connection), 1);
    Ok(())
}

async fn connections_ever(server: &NatsServer) -> Result<u64> {
    let answer = http::get(&server.monitoring_url("/varz")).await?;
    let answer: serde_json::Value = answer.json()?;
    answer["total_connections"].as_u64().context("a number")
}

#[tokio::test]
async fn draining_ends_the_relay_after_the_last_message() -> Result<()> {
    let service = service(|server| server).await?;
    let address = relay_address(&service.connection).await?;
    let other = ConnectSettings::new().component("other");
    let other = service.manager.connect(service.server.url(), other).await?;
    let mut inbox = other.client().subscribe("last.>").await?;
    other.client().flush().await?;
    eventually(PATIENCE, "subscribed", || async {
        let seen = service.server.connection("other").await?;
        Ok(seen.filter(|seen| seen.subscriptions > 0))
    })
    .await?;
    let client = service.connection.client().clone();
    for number in 0..1_000 {
        client
            .publish(format!("last.{number}"), vec![b'x'; 4096].into())
            .await?;
    }
    assert!(service.connection.drain(PATIENCE).await);
    for number in 0..1_000 {
        let message = timeout(PATIENCE, inbox.next()).await?.context("ended")?;
        assert_eq!(message.subject.as_str(), format!("last.{number}"));
    }
    port_is_closed(address).await?;
    eventually(PATIENCE, "the server sees it go", || async {
        Ok(service
            .server
            .connection(NAME)
            .await?
            .is_none()
            .then_some(()))
    })
    .await?;
    assert!(client.publish("late", "".into()).await.is_err() || client.flush().await.is_err());
    Ok(())
}

#[tokio::test]
async fn dropping_the_connection_ends_the_relay_and_its_client() -> Result<()> {
    let service = service(|server| server).await?;
    let address = relay_address(&service.connection).await?;
    let client = service.connection.client().clone();
    drop(service.connection);
    port_is_closed(address).await?;
    eventually(PATIENCE, "closed", || async {
        Ok(client.flush().await.is_err().then_some(()))
    })
    .await?;
    // Its name is free again.
    let settings = ConnectSettings::new().component(NAME).handover();
    let again = service
        .manager
        .connect(service.server.url(), settings)
        .await?;
    assert_eq!(again.report().state, ConnectionState::Connected);
    assert_ne!(relay_address(&again).await?, address);
    Ok(())
}

async fn port_is_closed(address: SocketAddr) -> Result<()> {
    eventually(PATIENCE, "the port is closed", || async {
        Ok(TcpStream::connect(address).await.is_err().then_some(()))
    })
    .await
}

/// What has to be signed is signed by the relay, so that a move needs nothing of the client.
#[tokio::test]
async fn with_credentials_beside_the_certificate() -> Result<()> {
    let pair = nkeys::KeyPair::new_user();
    let nkey = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        pair.public_key()
    );
    let token = "authorization { token: \"a-token\" }".to_owned();
    let cases = [
        (nkey, Authentication::NkeySeed(Secret::new(pair.seed()?))),
        (token, Authentication::Token(Secret::new("a-token"))),
    ];
    for (line, authentication) in cases {
        let mut service = Service::start_with(
            |server| server.line(&line),
            |manager| manager,
            |settings| settings.authentication(authentication).handover(),
        )
        .await?;
        for _ in 0..2 {
            service.renew()?;
            moved(&service).await?;
        }
        assert_eq!(connects(&service.connection), 1);
    }
    Ok(())
}

#[tokio::test]
async fn several_of_one_manager_have_relays_of_their_own() -> Result<()> {
    let mut service = service(|server| server).await?;
    let settings = ConnectSettings::new()
        .component("second")
        .handover()
        .no_echo();
    let second = service
        .manager
        .connect(service.server.url(), settings)
        .await?;
    assert_ne!(
        relay_address(&service.connection).await?,
        relay_address(&second).await?
    );
    let mut own = second.client().subscribe("echo").await?;
    second.client().flush().await?;
    service.renew()?;
    moved(&service).await?;
    service
        .server
        .sees("second", service.identity.fingerprint(), PATIENCE)
        .await?;
    let relay = service.manager.status().relay.context("a relay")?;
    assert_eq!(relay.sessions, 2);
    // What it asked for holds after the move too.
    second.client().publish("echo", "own".into()).await?;
    second.client().flush().await?;
    service
        .connection
        .client()
        .publish("echo", "other".into())
        .await?;
    let message = timeout(PATIENCE, own.next()).await?.context("ended")?;
    assert_eq!(message.payload, "other");
    assert!(timeout(MOMENT, own.next()).await.is_err(), "its own");
    drop(second);
    eventually(PATIENCE, "one is left", || async {
        let relay = service.manager.status().relay.context("a relay")?;
        Ok((relay.sessions == 1).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_fits_is_what_the_server_says() -> Result<()> {
    let mut service = service(|server| server.line("max_payload: 4096")).await?;
    let client = service.connection.client().clone();
    assert_eq!(client.server_info().max_payload, 4096);
    assert!(client.publish("big", vec![0; 4097].into()).await.is_err());
    let mut inbox = client.subscribe("ask").await?;
    let answering = client.clone();
    let answers = tokio::spawn(async move {
        while let Some(question) = inbox.next().await {
            let (reply, headers) = (question.reply?, question.headers?);
            let sent = answering.publish_with_headers(reply, headers, question.payload);
            sent.await.ok()?;
        }
        Some(())
    });
    client.flush().await?;
    for round in 0..3 {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("round", round.to_string().as_str());
        let answer = client.request_with_headers("ask", headers.clone(), vec![7; 4000].into());
        let answer = timeout(PATIENCE, answer).await??;
        assert_eq!(
            (answer.headers, answer.payload.len()),
            (Some(headers), 4000)
        );
        service.renew()?;
        moved(&service).await?;
    }
    answers.abort();
    Ok(())
}

/// A start that fails names the servers and says what they did.
#[tokio::test]
async fn no_server_at_the_start_is_told_as_for_any_connection() -> Result<()> {
    let service = service(|server| server).await?;
    let connect = |url: String, policy| {
        let settings = ConnectSettings::new()
            .component("late")
            .handover()
            .startup(policy);
        let manager = service.manager.clone();
        async move { manager.connect(url, settings).await }
    };
    let doorman = Doorman::start().await?;
    let budget = StartupPolicy::RetryFor(Duration::from_secs(1));
    let error = connect(doorman.url(), budget).await.unwrap_err();
    let nats_mtls::nats::ConnectionError::NotConnected { attempts, .. } = &error else {
        anyhow::bail!("{error}");
    };
    assert_eq!(attempts[0].server, doorman.label());
    assert!(attempts[0].attempts > 1, "{error}");
    let kind = attempts[0].last_failure.as_ref().context("said")?.kind;
    assert_eq!(kind, FailureKind::Unavailable, "{error}");

    // One that is there, and does not know us.
    let stranger = Authority::new("another root");
    let own = stranger.issue(&LeafSpec::server());
    let refusing = ServerSettings::new(&stranger).with_identity(&own);
    let refusing = NatsServer::start(refusing).await?;
    let error = connect(refusing.url(), StartupPolicy::FailFast)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("localhost:{}", refusing.port())),
        "{text}"
    );
    assert!(text.contains("not trusted"), "{text}");
    let refusing =
        ServerSettings::new(&stranger).with_identity(&service.authority.issue(&LeafSpec::server()));
    let refusing = NatsServer::start(refusing).await?;
    let error = connect(refusing.url(), StartupPolicy::FailFast)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("refused the client certificate"), "{text}");
    throughout(MOMENT, "the other connection is up", || async {
        Ok(service.manager.status().ready)
    })
    .await
}
