//! What the agent's probes answer over HTTP while it starts without NATS, under each startup policy, and
//! once NATS is there.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls_tests::agent::Agent;
use nats_mtls_tests::boot::Boot;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

#[tokio::test]
async fn an_agent_that_never_gives_up_is_alive_and_becomes_ready_without_a_restart() -> Result<()> {
    let mut boot = Boot::new().await?;
    let servers = [boot.doorman.url(), boot.down.url()].join(",");
    // What a budget would be is 400 ms.
    let agent = boot
        .agent(&servers)
        .flag("--connect-timeout", "200ms")
        .flag("--startup-passes", "1")
        .flag("--startup-margin", "0s")
        .http()?
        .start()
        .await?;
    eventually(PATIENCE, "tried again and again", || async {
        let live = agent.get("/livez").await;
        ensure!(
            live.is_ok_and(|live| live.status == 200),
            "{}",
            agent.stderr()
        );
        for probe in ["/readyz", "/startupz"] {
            ensure!(agent.get(probe).await?.status == 503, "{probe}");
        }
        Ok((boot.doorman.visits() > 3).then_some(()))
    })
    .await?;
    boot.down.restart().await?;
    eventually(PATIENCE, "ready", || async {
        ensure!(agent.get("/livez").await?.status == 200);
        let (ready, started) = (agent.get("/readyz").await?, agent.get("/startupz").await?);
        Ok((ready.status == 200 && started.status == 200).then_some(()))
    })
    .await?;
    let connection = boot.down.connection("nats-mtls-agent").await?;
    ensure!(connection.is_some(), "the server does not know it");
    let scrape = agent.get("/metrics").await?.body;
    let ok = r#"nats_mtls_connect_attempts_total{component="nats-mtls-agent",result="ok"} 1"#;
    ensure!(scrape.lines().any(|line| line == ok), "{scrape}");
    Ok(())
}

/// What the three probes say; whatever NATS does, the process is alive.
async fn probes(agent: &Agent) -> Result<(u16, u16)> {
    ensure!(agent.get("/livez").await?.status == 200, "not alive");
    let (started, ready) = (agent.get("/startupz").await?, agent.get("/readyz").await?);
    for answer in [&started, &ready] {
        let said = answer.status == 200 || answer.body.starts_with("connecting: ");
        ensure!(said, "{answer:?}");
    }
    Ok((started.status, ready.status))
}

async fn probes_turn(agent: &Agent, what: (u16, u16)) -> Result<()> {
    eventually(PATIENCE, &format!("probes say {what:?}"), || async {
        Ok((probes(agent).await? == what).then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_agent_that_retries_is_alive_and_not_started_until_nats_comes() -> Result<()> {
    let mut boot = Boot::new().await?;
    let servers = [boot.doorman.url(), boot.down.url()].join(",");
    let agent = boot
        .agent(&servers)
        .flag("--startup", "retry")
        .flag("--startup-budget", "2m")
        .http()?
        .start()
        .await?;
    probes_turn(&agent, (503, 503)).await?;
    throughout(Duration::from_secs(2), "alive, not started", || async {
        Ok(probes(&agent).await? == (503, 503))
    })
    .await?;
    ensure!(boot.doorman.visits() > 1, "it was not tried again");
    boot.down.restart().await?;
    probes_turn(&agent, (200, 200)).await?;

    // Once started, always started: an outage concerns readiness alone.
    boot.down.stop().await?;
    eventually(PATIENCE, "not ready", || async {
        ensure!(agent.get("/livez").await?.status == 200);
        ensure!(agent.get("/startupz").await?.status == 200);
        let ready = agent.get("/readyz").await?;
        Ok(ready.body.starts_with("disconnected: ").then_some(()))
    })
    .await?;
    boot.down.restart().await?;
    probes_turn(&agent, (200, 200)).await
}

#[tokio::test]
async fn an_agent_that_fails_fast_answers_its_probes_for_as_long_as_its_one_try_takes() -> Result<()>
{
    let boot = Boot::new().await?;
    let silent = NatsServer::start(ServerSettings::new(&boot.authority)).await?;
    silent.freeze().await?;
    let agent = boot
        .agent(&silent.url())
        .flag("--startup", "fail-fast")
        .http()?
        .start()
        .await?;
    probes_turn(&agent, (503, 503)).await?;
    let ended = agent.wait(PATIENCE).await?;
    assert_eq!(ended.code(), Some(3), "{}", agent.stderr());
    silent.thaw()
}
