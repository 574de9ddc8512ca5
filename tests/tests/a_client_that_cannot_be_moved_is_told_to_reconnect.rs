//! Who cannot be handed over stays where it is until its certificate is about to expire. Who then helps itself by
//! connecting again, because it signed the nonce of its connection, is told to leave, as by a server that shuts down, is
//! closed between two operations, and comes again by itself. Who would find nobody stays, also on an expired certificate.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt as _;
use nats_mtls_tests::load::tunnel::Tunnel;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::relay::Relay;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

const NAME: &str = "legacy-client";
/// What the agent calls itself.
const AGENT: &str = "nats-mtls-agent";
/// How long the first certificate lasts, from when it was issued.
const LASTS: Duration = Duration::from_secs(16);

fn leaf() -> LeafSpec {
    LeafSpec::client("legacy").dns("legacy.example.com")
}

/// It expires soon.
fn short_lived(authority: &Authority) -> Identity {
    let lasts = time::Duration::try_from(LASTS).expect("seconds");
    authority.issue(&leaf().valid(time::Duration::hours(-1), lasts))
}

/// What a client tells of its connection.
struct Events(UnboundedReceiver<Event>);

impl Events {
    async fn connect(options: ConnectOptions, url: &str) -> Result<(Client, Self)> {
        let (told, events) = mpsc::unbounded_channel();
        let options = options.name(NAME).event_callback(move |event| {
            let told = told.clone();
            async move {
                told.send(event).ok();
            }
        });
        let client = options.connect(url).await?;
        let mut events = Self(events);
        events.next_is(&Event::Connected).await?;
        Ok((client, events))
    }

    async fn next_is(&mut self, expected: &Event) -> Result<()> {
        let event = timeout(LASTS + PATIENCE, self.0.recv()).await;
        let event = event.with_context(|| format!("no {expected}"))?;
        let event = event.context("the client has ended")?;
        ensure!(event == *expected, "{event}, not {expected}");
        Ok(())
    }

    fn is_silent(&mut self) -> Result<()> {
        let event = self.0.try_recv();
        ensure!(event.is_err(), "it noticed {event:?}");
        Ok(())
    }
}

/// Log, status and metric say that one client was told to leave, and why.
async fn is_told(relay: &Relay, reason: &str, detail: &str) -> Result<()> {
    let log = relay.agent.stderr();
    let told = log.lines().find(|line| line.contains("told to leave"));
    let told = told.with_context(|| format!("nothing of it in the log:\n{log}"))?;
    ensure!(told.contains(&format!("reason=\"{reason}\"")), "{told}");
    ensure!(told.contains(detail), "{told}");
    let status = relay.agent.status().await?["relay"].take();
    let fallbacks = &status["handovers"]["fallback_reasons"];
    ensure!(fallbacks[reason] == 1, "{status:#}");
    let metrics = relay.agent.get("/metrics").await?.body;
    let line =
        format!("nats_mtls_relay_handover_total{{result=\"fallback\",reason=\"{reason}\"}} 1");
    ensure!(metrics.lines().any(|known| known == line), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn because_it_signed() -> Result<()> {
    let authority = Authority::new("root");
    let (user, issued) = (nkeys::KeyPair::new_user(), Instant::now());
    let users = format!(
        "authorization {{ users: [ {{ nkey: {} }}, {{ user: agent, password: s3cret }} ] }}",
        user.public_key()
    );
    let server = NatsServer::start(ServerSettings::new(&authority).line(&users)).await?;
    let secrets = tempfile::tempdir()?;
    let password = secrets.path().join("password");
    std::fs::write(&password, "s3cret")?;
    let old = short_lived(&authority);
    let mut relay = Relay::start_with(&authority, old.clone(), &server.url(), |agent| {
        agent
            .flag("--user", "agent")
            .flag("--password-file", &password)
    })
    .await?;
    let options = ConnectOptions::with_nkey(user.seed()?);
    let (client, mut events) = Events::connect(options, &relay.url()).await?;
    let before = server.connection(NAME).await?.context("not there")?;
    ensure!(before.authorized_user == user.public_key(), "{before:?}");
    let heard = listen(&authority, &server).await?;
    let publishing = tokio::spawn(publish(client));

    relay.present(authority.issue(&leaf()))?;
    let new = relay.identity.fingerprint().to_owned();
    server.sees(AGENT, &new, PATIENCE).await?;
    eventually(PATIENCE, "the log says that it stays", || async {
        let log = relay.agent.stderr();
        Ok(log.contains("stays on its connection").then_some(()))
    })
    .await?;
    let stays = server.connection(NAME).await?.context("gone")?;
    ensure!(stays.cid == before.cid, "{stays:?}");
    ensure!(stays.fingerprint() == Some(old.fingerprint()), "{stays:?}");
    let status = relay.agent.status().await?["relay"].take();
    ensure!(status["behind"] == 1, "{status:#}");
    events.is_silent()?;

    events.next_is(&Event::LameDuckMode).await?;
    let (asked, expires) = (issued.elapsed(), LASTS);
    ensure!(asked < expires, "asked {asked:?} after the issue");
    events.next_is(&Event::Disconnected).await?;
    events.next_is(&Event::Connected).await?;
    let after = server.sees(NAME, &new, PATIENCE).await?;
    ensure!(after.cid != before.cid && after.authorized_user == user.public_key());
    // Nothing was cut in the middle: a server says so if it was.
    let closed = server.closed_connections().await?;
    let closed = closed.iter().find(|one| one.cid == before.cid);
    let reason = &closed.context("not closed")?.reason;
    ensure!(reason == "Client Closed", "{reason}");
    is_told(&relay, "signed_nonce", "signed the nonce").await?;
    publishing.abort();
    let heard = heard.await?;
    ensure!(heard > 100, "{heard} messages");
    Ok(())
}

/// Hears the numbers that [`publish`] says: each once and in order. How many, when they stop.
async fn listen(
    authority: &Authority,
    server: &NatsServer,
) -> Result<impl Future<Output = Result<u64>>> {
    let identity = authority.issue(&LeafSpec::client("listener"));
    let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
    let options = ConnectOptions::with_user_and_password("agent".into(), "s3cret".into());
    let options = options.require_tls(true).tls_client_config(config);
    let client = options.connect(server.url()).await?;
    let mut numbers = client.subscribe("numbers").await?;
    client.flush().await?;
    let hearing = tokio::spawn(async move {
        let (mut next, mut count) = (0, 0);
        while let Ok(Some(message)) = timeout(PATIENCE / 10, numbers.next()).await {
            let number: u64 = std::str::from_utf8(&message.payload)?.parse()?;
            ensure!(number >= next, "{number} after {next}");
            (next, count) = (number + 1, count + 1);
        }
        drop(client);
        Ok(count)
    });
    Ok(async { hearing.await? })
}

async fn publish(client: Client) -> Result<()> {
    for number in 0_u64.. {
        client.publish("numbers", number.to_string().into()).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The network swallows every new connection, until the last call and beyond the end of the certificate: a client that
/// is told to leave would have lost a connection that works, and got no other one.
#[tokio::test(flavor = "multi_thread")]
async fn who_would_find_nobody_keeps_what_works() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let target = (Ipv4Addr::LOCALHOST, server.port()).into();
    let tunnel = Tunnel::open(target, Duration::ZERO).await?;
    let url = format!("tls://localhost:{}", tunnel.port());
    let (old, issued) = (short_lived(&authority), Instant::now());
    let mut relay = Relay::start_with(&authority, old.clone(), &url, |agent| {
        agent
            .flag("--preflight", "off")
            .flag("--connect-timeout", "1s")
    })
    .await?;
    let (client, mut events) = Events::connect(ConnectOptions::new(), &relay.url()).await?;
    let before = server.connection(NAME).await?.context("not there")?;
    tunnel.spare_those_that_are_there();
    tunnel.set_delay(Duration::from_secs(3600));
    relay.present(authority.issue(&leaf()))?;
    let failed = async |forced: bool, at_least: usize| {
        let text = format!("is_forced={forced}");
        eventually(LASTS + PATIENCE, "it is tried, and fails", || async {
            let log = relay.agent.stderr();
            let failed = log
                .lines()
                .filter(|line| line.contains("handover failed") && line.contains(&text));
            Ok((failed.count() >= at_least).then_some(()))
        })
        .await
    };
    failed(false, 2).await?;
    failed(true, 2).await?;
    ensure!(issued.elapsed() > LASTS / 2, "forced too early");
    let remaining = LASTS.saturating_sub(issued.elapsed());
    throughout(remaining + Duration::from_secs(1), "it stays", || async {
        let stays = server.connection(NAME).await?;
        Ok(stays.is_some_and(|stays| stays.cid == before.cid))
    })
    .await?;

    // Its certificate has expired, and nothing has changed for the client.
    let stays = server.connection(NAME).await?.context("gone")?;
    ensure!(stays.fingerprint() == Some(old.fingerprint()), "{stays:?}");
    client.flush().await?;
    events.is_silent()?;
    let status = relay.agent.status().await?["relay"].take();
    ensure!(status["behind"] == 1, "{status:#}");
    ensure!(status["handovers"]["fallback"] == 0, "{status:#}");
    let dial = status["handovers"]["failed_reasons"]["dial"].as_u64();
    ensure!(dial.is_some_and(|failed| failed >= 4), "{status:#}");
    let cause = status["last_failure"]["detail"].as_str();
    ensure!(
        cause.is_some_and(|cause| cause.contains("no answer in time")),
        "{status:#}"
    );
    let metrics = relay.agent.get("/metrics").await?.body;
    let line = "nats_mtls_relay_handover_total{result=\"failed\",reason=\"dial\"} ";
    ensure!(metrics.contains(line), "{metrics}");

    tunnel.spare_those_that_are_there();
    tunnel.set_delay(Duration::ZERO);
    let after = server.sees(NAME, relay.identity.fingerprint(), LASTS + PATIENCE);
    ensure!(after.await?.cid != before.cid);
    client.flush().await?;
    events.is_silent()?;
    Ok(())
}
