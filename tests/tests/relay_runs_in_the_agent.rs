//! The relay as it is deployed: an agent beside a client that speaks plain text and cannot be
//! changed. It rotates without noticing, and the end gives it time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::time::timeout;

#[tokio::test]
async fn a_legacy_client_is_rotated_without_noticing() -> Result<()> {
    let authority = Authority::new("root");
    let mut leaf = authority.issue(&LeafSpec::client("legacy-pod"));
    let files = PlainFiles::new(&Contents::new(&leaf, &authority.root_pem()))?;
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let agent = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--server", server.url())
        .flag("--listen", "127.0.0.1:0")
        .flag("--poll-interval", "200ms")
        .flag("--spread", "0s")
        .http()?
        .start()
        .await?;
    let address = agent.relay_address().await?;
    let options = async_nats::ConnectOptions::new().name("legacy");
    let client = options.connect(format!("nats://{address}")).await?;
    let mut echo = client.subscribe("echo").await?;

    for generation in 2..=3_u64 {
        leaf = authority.renew(&leaf);
        files.rename_over(&Contents::new(&leaf, &authority.root_pem()))?;
        server.sees("legacy", leaf.fingerprint(), PATIENCE).await?;
        client
            .publish("echo", generation.to_string().into())
            .await?;
        let message = timeout(PATIENCE, echo.next()).await?;
        ensure!(message.context("no echo")?.payload == generation.to_string());
    }
    ensure!(
        client
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed)
            == 1
    );
    let relay = eventually(PATIENCE, "both are counted", || async {
        let relay = agent.status().await?["relay"].take();
        Ok((relay["handovers"]["ok"] == 2 && relay["behind"] == 0).then_some(relay))
    })
    .await?;
    ensure!(relay["handovers"]["failed"] == 0, "{relay:#}");
    ensure!(relay["handovers"]["unmatched"] == 0, "{relay:#}");
    ensure!(relay["sessions_total"]["accepted"] == 1, "{relay:#}");
    let metrics = agent.get("/metrics").await?.body;
    for line in [
        r#"nats_mtls_relay_handover_total{result="ok",reason="none"} 2"#,
        "nats_mtls_relay_handover_stall_seconds_count 2",
        "nats_mtls_relay_sessions 1",
    ] {
        ensure!(
            metrics.lines().any(|known| known == line),
            "{line}\n{metrics}"
        );
    }

    // The end waits for the client, and only for it.
    agent.terminate()?;
    eventually(PATIENCE, "draining", || async {
        Ok(agent.stderr().contains("relay: draining").then_some(()))
    })
    .await?;
    client.flush().await?;
    let began = Instant::now();
    drop((client, echo));
    let status = agent.wait(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    ensure!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}
