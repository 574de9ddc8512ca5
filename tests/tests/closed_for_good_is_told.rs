//! Promise 8: a connection that is closed for good turns liveness to 503, with the reason, for long
//! enough that an orchestrator sees it; and it is an alarm, unlike an end that was asked for.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls::nats::ConnectionState;
use nats_mtls::report::{Liveness, NotReady};
use nats_mtls::{ConnectSettings, ConnectionEvent};
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::fatal::FatalServer;
use nats_mtls_tests::files::{Contents, KubernetesVolume, PlainFiles};
use nats_mtls_tests::metrics::Metrics;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::prometheus::{Prometheus, PrometheusSettings, rule_file, shipped, shorten};
use nats_mtls_tests::service;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// A part of the minute that it is told for; the agent's own tests count all of it.
const TOLD: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_agent_says_so_until_it_is_restarted() -> Result<()> {
    let authority = Authority::new("root");
    let server = FatalServer::start(&authority).await?;
    let leaf = authority.issue(&LeafSpec::client("agent"));
    let files = PlainFiles::new(&Contents::new(&leaf, &authority.root_pem()))?;
    let agent = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--server", server.url())
        .argument("--tls-first")
        .http()?
        .start()
        .await?;
    eventually(PATIENCE, "ready", || async {
        let ready = agent.get("/readyz").await.ok();
        Ok(ready.filter(|answer| answer.status == 200).map(|_| ()))
    })
    .await?;
    ensure!(agent.get("/livez").await?.status == 200);

    server.strike();
    let told = eventually(PATIENCE, "liveness turns", || async {
        let live = agent.get("/livez").await?;
        Ok((live.status == 503).then_some(live.body))
    })
    .await?;
    ensure!(
        told == "connection_closed: the NATS connection is closed for good; only a restart helps\n",
        "{told}"
    );
    let ready = agent.get("/readyz").await?;
    ensure!(
        ready.status == 503 && ready.body.starts_with("closed: "),
        "{ready:?}"
    );
    ensure!(agent.get("/startupz").await?.status == 200);
    let scrape = agent.get("/metrics").await?.body;
    for line in [
        r#"nats_mtls_connection_closed_total{component="nats-mtls-agent"} 1"#,
        r#"nats_mtls_connection_given_up{component="nats-mtls-agent"} 1"#,
        r#"nats_mtls_connection_up{component="nats-mtls-agent"} 0"#,
    ] {
        ensure!(
            scrape.lines().any(|known| known == line),
            "{line}\n{scrape}"
        );
    }
    throughout(TOLD, "it goes on saying so", || async {
        Ok(agent.get("/livez").await?.status == 503)
    })
    .await?;

    // As a kubelet does.
    agent.terminate()?;
    let ended = agent.wait(PATIENCE).await?;
    ensure!(ended.code() == Some(1), "{ended}");
    let log = agent.stderr();
    ensure!(
        log.contains("closed for good; only a restart brings it back"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn without_probes_the_agent_ends_at_once() -> Result<()> {
    let authority = Authority::new("root");
    let server = FatalServer::start(&authority).await?;
    let leaf = authority.issue(&LeafSpec::client("agent"));
    let files = PlainFiles::new(&Contents::new(&leaf, &authority.root_pem()))?;
    let agent = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--server", server.url())
        .argument("--tls-first")
        .flag("--http", "off")
        .start()
        .await?;
    eventually(PATIENCE, "connected", || async {
        Ok(agent.stderr().contains("connected").then_some(()))
    })
    .await?;
    server.strike();
    let ended = agent.wait(PATIENCE).await?;
    ensure!(ended.code() == Some(1), "{ended}");
    Ok(())
}

#[tokio::test]
async fn a_service_is_told_by_events_probes_and_metrics() -> Result<()> {
    let metrics = Metrics::install()?;
    let authority = Authority::new("root");
    let server = FatalServer::start(&authority).await?;
    let leaf = authority.issue(&LeafSpec::client(service::NAME));
    let volume = KubernetesVolume::new(&Contents::new(&leaf, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let settings = ConnectSettings::new()
        .component(service::NAME)
        .tls_first(true);
    let connection = manager.connect(server.url(), settings).await?;
    let status = manager.status_handle();
    let mut events = connection.events();
    ensure!(status.health().liveness == Liveness::Alive);

    server.strike();
    tokio::time::timeout(PATIENCE, connection.closed()).await?;
    ensure!(connection.report().state == ConnectionState::Closed);
    let health = status.health();
    ensure!(health.liveness == Liveness::ConnectionClosed, "{health:?}");
    ensure!(health.not_ready == Some(NotReady::Closed), "{health:?}");
    ensure!(matches!(
        events.recv().await?,
        ConnectionEvent::Disconnected { .. }
    ));
    ensure!(matches!(events.recv().await?, ConnectionEvent::Closed));

    // Letting go of what broke does not make it well.
    drop(connection);
    let all = [("component", service::NAME)];
    eventually(PATIENCE, "the handle is gone", || async {
        Ok(status.status().connections.is_empty().then_some(()))
    })
    .await?;
    let scrape = metrics.scrape(&status);
    assert_eq!(scrape.count("nats_mtls_connection_closed_total", &all)?, 1);
    assert_eq!(scrape.count("nats_mtls_connection_given_up", &all)?, 1);
    assert_eq!(scrape.count("nats_mtls_connection_up", &all)?, 0);
    Ok(())
}

/// The agent is killed for it as soon as anybody may have noticed, and comes back well: somebody reads
/// of it all the same. A minute of the shipped rules is a second here.
#[tokio::test]
async fn the_alert_outlives_the_restart_that_mends_it() -> Result<()> {
    const FACTOR: u32 = 60;
    const CLOSED: &str = "nats_mtls_connection_closed_total";
    let authority = Authority::new("root");
    let server = FatalServer::start(&authority).await?;
    let leaf = authority.issue(&LeafSpec::client("agent"));
    let files = PlainFiles::new(&Contents::new(&leaf, &authority.root_pem()))?;
    let command = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--server", server.url())
        .argument("--tls-first")
        .http()?;
    let rules = shorten(&shipped().await?, FACTOR)?;
    let agent = command.clone().start().await?;
    let prometheus = Prometheus::start(PrometheusSettings {
        target: Some(command.http_address()?),
        interval: Duration::from_secs(30) / FACTOR,
        lookback: Duration::from_secs(300) / FACTOR,
        rules: rule_file(&rules),
    })
    .await?;
    let fires = async || -> Result<bool> {
        let alerts = prometheus.alerts().await?;
        let mut firing = alerts.iter().filter(|alert| alert.is_firing());
        Ok(firing.any(|alert| alert.name() == "NatsMtlsConnectionClosed"))
    };
    eventually(PATIENCE, "Prometheus sees it up", || async {
        let up = prometheus.number("nats_mtls_connection_up").await?;
        Ok((up == Some(1.0)).then_some(()))
    })
    .await?;
    ensure!(!fires().await?);

    server.strike();
    eventually(PATIENCE, "a scrape sees it closed", || async {
        let closed = prometheus.number(CLOSED).await?;
        Ok((closed == Some(1.0)).then_some(()))
    })
    .await?;
    agent.terminate()?;
    agent.wait(PATIENCE).await?;
    let _again = command.start().await?;
    eventually(PATIENCE, "it is back and well, and it is told", || async {
        let up = prometheus.number("nats_mtls_connection_up").await? == Some(1.0);
        let closed = prometheus.number(CLOSED).await? == Some(0.0);
        Ok((up && closed && fires().await?).then_some(()))
    })
    .await?;
    eventually(2 * PATIENCE, "after 15 minutes it is over", || async {
        Ok((!fires().await?).then_some(()))
    })
    .await
}
