//! Whether a rotation took is asked where it counts: nats-server's monitoring shows which
//! certificate the agent's connection presents, by the number of that very connection.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::connz::Connection;
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::metrics::Scrape;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings, Verify};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use serde_json::Value;

const NAME: &str = "nats-mtls-agent";

fn command(
    volume: &KubernetesVolume,
    server: &NatsServer,
    monitoring: &NatsServer,
) -> Result<AgentCommand> {
    AgentCommand::new("run")
        .volume(volume)
        .flag("--server", server.url())
        .flag("--confirm-url", monitoring.monitoring_url(""))
        .flag("--confirm-within", "2s")
        .flag("--poll-interval", "100ms")
        .flag("--spread", "0s")
        .http()
}

async fn verdict(agent: &Agent, generation: u64, result: &str) -> Result<Value> {
    eventually(PATIENCE, &format!("{result} for {generation}"), || async {
        let confirm = agent.status().await?["confirm"].clone();
        ensure!(
            confirm["result"] == result && confirm["generation"] == generation,
            "{confirm}"
        );
        Ok(Some(confirm))
    })
    .await
}

async fn count(agent: &Agent, name: &str, result: &str) -> Result<u64> {
    let scrape = Scrape(agent.get("/metrics").await?.body);
    scrape.count(name, &[("target", "connection"), ("result", result)])
}

#[tokio::test]
async fn the_connection_of_that_very_number_shows_the_new_certificate() -> Result<()> {
    let authority = Authority::new("root");
    let mut identity = authority.issue(&LeafSpec::client("orders"));
    let mut volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let agent = command(&volume, &server, &server)?.start().await?;
    for generation in 1..=3 {
        let confirm = verdict(&agent, generation, "confirmed").await?;
        ensure!(
            confirm["target"] == "connection" && confirm["reason"].is_null(),
            "{confirm}"
        );
        let connection = server.connection(NAME).await?.context("connected")?;
        ensure!(connection.fingerprint() == Some(identity.fingerprint()));
        let status = agent.status().await?;
        ensure!(
            status["connections"][0]["client_id"] == connection.cid,
            "{status}"
        );
        ensure!(count(&agent, "nats_mtls_confirm_total", "confirmed").await? == generation);
        ensure!(count(&agent, "nats_mtls_confirm_state", "confirmed").await? == 1);
        identity = authority.renew(&identity);
        volume.update(&Contents::new(&identity, &authority.root_pem()))?;
    }
    Ok(())
}

#[tokio::test]
async fn what_nobody_can_tell_is_unsupported() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client("orders"));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let asks_for_none = ServerSettings::new(&authority).verify(Verify::Off);
    let asks_for_none = NatsServer::start(asks_for_none).await?;
    for (server, monitoring, says) in [
        (&asks_for_none, &asks_for_none, "tls_peer_certs"),
        (&server, &asks_for_none, "--confirm-url"),
    ] {
        let agent = command(&volume, server, monitoring)?.start().await?;
        let confirm = verdict(&agent, 1, "unsupported").await?;
        let reason = confirm["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains(says), "{confirm}");
        ensure!(
            agent.stderr().contains("nobody can say"),
            "{}",
            agent.stderr()
        );
        ensure!(count(&agent, "nats_mtls_confirm_state", "unsupported").await? == 1);
    }
    Ok(())
}

/// Of three servers the connection may be at any, and each move may take it to another.
#[tokio::test]
async fn a_verdict_does_not_depend_on_the_server_that_the_connection_is_at() -> Result<()> {
    let authority = Authority::new("root");
    let mut identity = authority.issue(&LeafSpec::client("orders"));
    let mut volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let mut servers = NatsServer::start_cluster(ServerSettings::new(&authority), 3).await?;
    let mut first = servers.remove(0);
    let [second, third] = servers.as_slice() else {
        anyhow::bail!("three servers");
    };
    // It learns of the others by itself.
    let agent = AgentCommand::new("run")
        .volume(&volume)
        .flag("--server", first.url())
        .flag("--confirm-url", second.monitoring_url(""))
        .flag("--confirm-url", third.monitoring_url(""))
        .flag("--confirm-within", "2s")
        .flag("--poll-interval", "100ms")
        .flag("--spread", "0s")
        .http()?
        .start()
        .await?;
    let confirm = verdict(&agent, 1, "unsupported").await?;
    let reason = confirm["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("--confirm-url"), "{confirm}");
    first.stop().await?;
    verdict(&agent, 1, "confirmed").await?;
    drop(agent);

    first.restart().await?;
    let all = [&first, second, third];
    let urls = all.map(NatsServer::url).join(",");
    let monitoring = all.map(|server| server.monitoring_url("")).join(",");
    let agent = AgentCommand::new("run")
        .volume(&volume)
        .flag("--server", urls)
        .flag("--confirm-url", monitoring)
        .flag("--confirm-within", "10s")
        .flag("--poll-interval", "100ms")
        .flag("--spread", "0s")
        .http()?
        .start()
        .await?;
    verdict(&agent, 1, "confirmed").await?;
    for generation in 2..=6 {
        identity = authority.renew(&identity);
        volume.update(&Contents::new(&identity, &authority.root_pem()))?;
        verdict(&agent, generation, "confirmed").await?;
        let connection = connected_at(&all).await?.context("connected")?;
        ensure!(connection.fingerprint() == Some(identity.fingerprint()));
    }
    for other in ["not_confirmed", "unsupported"] {
        ensure!(count(&agent, "nats_mtls_confirm_total", other).await? == 0);
    }
    Ok(())
}

async fn connected_at(servers: &[&NatsServer]) -> Result<Option<Connection>> {
    for server in servers {
        if let Some(connection) = server.connection(NAME).await? {
            return Ok(Some(connection));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn a_monitoring_that_does_not_answer_confirms_nothing_until_it_does() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client("orders"));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    server.stop().await?;
    let agent = command(&volume, &server, &server)?
        .flag("--connect-timeout", "1s")
        .start()
        .await?;
    let confirm = verdict(&agent, 1, "not_confirmed").await?;
    let reason = confirm["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("connection to NATS is down"), "{confirm}");
    ensure!(count(&agent, "nats_mtls_confirm_total", "not_confirmed").await? == 1);
    ensure!(count(&agent, "nats_mtls_confirm_state", "not_confirmed").await? == 1);

    server.restart().await?;
    server.sees(NAME, identity.fingerprint(), PATIENCE).await?;
    verdict(&agent, 1, "confirmed").await?;
    ensure!(count(&agent, "nats_mtls_confirm_total", "not_confirmed").await? == 1);
    ensure!(count(&agent, "nats_mtls_confirm_state", "not_confirmed").await? == 0);
    ensure!(agent.get("/readyz").await?.status == 200);
    Ok(())
}
