//! A handover that cannot be made changes nothing for the client: the server still shows the old
//! connection, messages go on, and log, `/status` and metric say why. It is tried again, more and more
//! seldom, and succeeds once the cause is gone.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use nats_mtls::RelaySettings;
use nats_mtls::relay::HandoverReason;
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::load::tunnel::Tunnel;
use nats_mtls_tests::load::{Clock, Conversation, Endpoint, Topic};
use nats_mtls_tests::logs::LogCapture;
use nats_mtls_tests::metrics::Metrics;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::relay::{Places, Relay, places};
use nats_mtls_tests::server::{NatsServer, ServerSettings, Verify};
use nats_mtls_tests::service::builder;
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::time::timeout;

/// The session that is to be moved.
const NAME: &str = "talk";
/// What it listens to.
const SUBJECT: &str = "load.talk.down";

/// An agent, a server, and a session under load.
struct Scene {
    authority: Authority,
    servers: [NatsServer; 1],
    relay: Relay,
    talk: Conversation,
    before: Places,
}

impl Scene {
    /// The agent finds the server at `url`.
    async fn start(
        authority: Authority,
        server: NatsServer,
        url: &str,
        configure: impl FnOnce(AgentCommand) -> AgentCommand,
    ) -> Result<Self> {
        let servers = [server];
        let identity = authority.issue(&LeafSpec::client("legacy").dns("legacy.example.com"));
        let relay = Relay::start_with(&authority, identity, url, configure).await?;
        let identity = authority.issue(&LeafSpec::client("peer").dns("peer.example.com"));
        let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
        let peer = Endpoint::tls(servers[0].port(), config);
        let topic = Topic {
            name: NAME.to_owned(),
            rate: 1_000.0,
            size: 128,
        };
        let talk = Conversation::start(&relay.endpoint(), &peer, &topic, Clock::start())?;
        let names = [NAME.to_owned()];
        let before = places(&servers, &names, Some(relay.identity.fingerprint())).await?;
        Ok(Self {
            authority,
            servers,
            relay,
            talk,
            before,
        })
    }

    async fn handovers(&self) -> Result<serde_json::Value> {
        Ok(self.relay.agent.status().await?["relay"]["handovers"].take())
    }

    /// Waits until it failed so often for this reason.
    async fn fails(&self, reason: &str, times: u64) -> Result<()> {
        eventually(2 * PATIENCE, "the handover fails", || async {
            let handovers = self.handovers().await?;
            let failed = handovers["failed_reasons"][reason].as_u64().unwrap_or(0);
            ensure!(failed >= times, "{handovers}");
            Ok(Some(()))
        })
        .await
    }

    /// The client is where it was, hears and is heard, and everybody can read why.
    async fn is_as_before(&self, reason: &str, detail: &str) -> Result<()> {
        let (up, down) = self.talk.received();
        eventually(PATIENCE, "messages go on", || async {
            let now = self.talk.received();
            Ok((now.0 > up + 200 && now.1 > down + 200).then_some(()))
        })
        .await?;
        // A connection that was given up may still be there for a while.
        let names = [NAME.to_owned()];
        eventually(PATIENCE, "the old connection alone", || async {
            let now = places(&self.servers, &names, None).await?;
            ensure!(now == self.before, "{now:?}, not {:?}", self.before);
            Ok(Some(()))
        })
        .await?;
        let log = self.relay.agent.stderr();
        let told = log.lines().find(|line| line.contains("handover failed"));
        let told = told.with_context(|| format!("nothing of it in the log:\n{log}"))?;
        ensure!(told.contains(&format!("reason=\"{reason}\"")), "{told}");
        ensure!(told.contains(detail), "{detail}: {told}");
        ensure!(told.contains("the connection in use is kept"), "{told}");
        let status = self.relay.agent.status().await?["relay"].take();
        ensure!(status["handovers"]["ok"] == 0, "{status:#}");
        ensure!(status["behind"] == 1, "{status:#}");
        let failure = status["last_failure"]["detail"].as_str();
        ensure!(
            failure.is_some_and(|failure| failure.contains(detail)),
            "{status:#}"
        );
        let metrics = self.relay.agent.get("/metrics").await?.body;
        let name = "nats_mtls_relay_handover_total";
        let labels = format!("{name}{{result=\"failed\",reason=\"{reason}\"}} ");
        let counted = metrics.lines().find_map(|line| line.strip_prefix(&labels));
        let counted: u64 = counted.with_context(|| metrics.clone())?.parse()?;
        ensure!(counted >= 1, "{counted}");
        Ok(())
    }

    /// It has moved, and nobody noticed any of it.
    async fn succeeds(self) -> Result<()> {
        self.relay
            .moved(&self.servers, &self.before, 3 * PATIENCE)
            .await?;
        let handovers = eventually(PATIENCE, "counted", || async {
            let handovers = self.handovers().await?;
            Ok((handovers["ok"] == 1).then_some(handovers))
        })
        .await?;
        ensure!(handovers["fallback"] == 0, "{handovers}");
        let verdict = self.talk.finish().await?;
        let (up, down) = (verdict.up, verdict.down);
        ensure!(up.wrong() + down.wrong() == 0, "up {up:?}, down {down:?}");
        Ok(())
    }
}

/// Two identities: one may do anything, the other may not hear what the session listens to.
fn mapped(authority: &Authority, denied: &str) -> ServerSettings {
    let users = format!(
        "authorization {{ users: [ {{ user: legacy.example.com }}, {{ user: peer.example.com }}, \
         {{ user: renamed.example.com, permissions: {{ subscribe: {{ deny: [ {denied:?} ] }} }} }} ] }}"
    );
    let settings = ServerSettings::new(authority);
    settings.verify(Verify::Mapped).line(&users)
}

#[tokio::test]
async fn to_an_identity_that_lacks_a_right() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(mapped(&authority, SUBJECT)).await?;
    let url = server.url();
    let mut scene = Scene::start(authority, server, &url, |agent| agent).await?;
    let renamed = LeafSpec::client("legacy").dns("renamed.example.com");
    scene.relay.present(scene.authority.issue(&renamed))?;
    scene.fails("subscription_denied", 1).await?;
    scene.is_as_before("subscription_denied", SUBJECT).await?;
    scene.fails("subscription_denied", 2).await?;
    scene.is_as_before("subscription_denied", SUBJECT).await?;
    let settings = mapped(&scene.authority, "something.else");
    scene.servers[0].reconfigure(|_| settings)?;
    scene.servers[0].reload().await?;
    scene.succeeds().await
}

/// The server takes the new connection, and then the network swallows everything on it.
#[tokio::test(flavor = "multi_thread")]
async fn to_a_connection_that_hangs() -> Result<()> {
    /// Long enough to find out how far the handover has come.
    const LONG: Duration = Duration::from_millis(300);
    const FOR_EVER: Duration = Duration::from_secs(3600);
    let authority = Authority::new("root");
    // What swallows a connection swallows its end, too: the server has to find out.
    let settings = ServerSettings::new(&authority).line("ping_interval: \"1s\"");
    let server = NatsServer::start(settings).await?;
    let target = (Ipv4Addr::LOCALHOST, server.port()).into();
    let tunnel = Tunnel::open(target, Duration::ZERO).await?;
    let url = format!("tls://localhost:{}", tunnel.port());
    let mut scene = Scene::start(authority, server, &url, |agent| {
        agent
            .flag("--preflight", "off")
            .flag("--handover-step-timeout", "3s")
            .flag("--connect-timeout", "10s")
    })
    .await?;
    tunnel.spare_those_that_are_there();
    tunnel.set_delay(LONG);
    scene.relay.renew(&scene.authority)?;
    let new = scene.relay.identity.fingerprint().to_owned();
    eventually(PATIENCE, "the new connection has subscribed", || async {
        let connections = scene.servers[0].connections().await?;
        let joined = connections.iter().any(|one| {
            one.name == NAME && one.fingerprint() == Some(&*new) && one.subscriptions > 0
        });
        Ok(joined.then_some(()))
    })
    .await?;
    tunnel.set_delay(FOR_EVER);
    scene.fails("timeout", 1).await?;
    scene
        .is_as_before("timeout", "a step took too long")
        .await?;
    tunnel.spare_those_that_are_there();
    tunnel.set_delay(Duration::ZERO);
    scene.succeeds().await
}

/// A handover needs one connection more on the server for a moment. In a program of its own, because
/// an agent has another connection beside those of the relay.
#[tokio::test]
async fn to_a_server_that_is_full() -> Result<()> {
    let (log, metrics) = (LogCapture::install()?, Metrics::install()?);
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client("legacy"));
    let next = authority.renew(&identity);
    let contents = |identity| Contents::new(identity, &authority.root_pem());
    let mut volume = KubernetesVolume::new(&contents(&identity))?;
    let settings = ServerSettings::new(&authority).max_connections(1);
    let mut server = NatsServer::start(settings).await?;
    let manager = builder(&volume).preflight(false).build().await?;
    let settings = RelaySettings::new()
        .listen((Ipv4Addr::LOCALHOST, 0).into())
        .spread(Duration::ZERO);
    let relay = manager.relay(server.url(), settings).await?;
    let options = async_nats::ConnectOptions::new().name(NAME);
    let client = options.connect(relay.local_addr().to_string()).await?;
    let mut echo = client.subscribe("echo").await?;
    let old = server.connection(NAME).await?.context("not there")?;
    volume.update(&contents(&next))?;
    for times in 1..=2 {
        eventually(PATIENCE, "the handover fails", || async {
            let report = relay.report();
            ensure!(
                report.failed_for(HandoverReason::Refused) >= times,
                "{report:?}"
            );
            Ok(Some(()))
        })
        .await?;
        let now = server.connection(NAME).await?.context("gone")?;
        ensure!(now.cid == old.cid, "{now:?}");
        client.publish("echo", times.to_string().into()).await?;
        let message = timeout(PATIENCE, echo.next()).await?;
        ensure!(message.context("no echo")?.payload == times.to_string());
    }
    let detail = "maximum connections exceeded";
    let told = log.text();
    let told = told.lines().find(|line| line.contains("handover failed"));
    let told = told.context("nothing in the log")?;
    ensure!(
        told.contains("reason=\"refused\"") && told.contains(detail),
        "{told}"
    );
    let status = manager.status().relay.context("no relay")?;
    let failure = status.last_failure.context("no failure")?.detail;
    ensure!(failure.contains(detail), "{failure}");
    let labels = [("result", "failed"), ("reason", "refused")];
    let scrape = metrics.scrape(&manager.status_handle());
    ensure!(scrape.count("nats_mtls_relay_handover_total", &labels)? >= 2);

    server.reconfigure(|settings| settings.max_connections(2))?;
    server.reload().await?;
    server.sees(NAME, next.fingerprint(), 2 * PATIENCE).await?;
    client.publish("echo", "after".into()).await?;
    let message = timeout(PATIENCE, echo.next()).await?;
    ensure!(message.context("no echo")?.payload == "after");
    let connects = &client.statistics().connects;
    ensure!(connects.load(std::sync::atomic::Ordering::Relaxed) == 1);
    Ok(())
}
