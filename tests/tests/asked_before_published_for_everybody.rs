//! Promise 4, the corners: every live connection's own servers have a say, also one that comes
//! while the others are asked, and a crowd of connections is not a storm of questions.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::ConnectSettings;
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::http;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

const WINDOW: Duration = Duration::from_secs(4);

fn settings(component: &str) -> ConnectSettings {
    ConnectSettings::new()
        .component(component)
        .connect_timeout(Duration::from_secs(2))
}

#[tokio::test]
async fn another_clusters_yes_does_not_move_a_live_connection() -> Result<()> {
    let (authority, foreign) = (Authority::new("root"), Authority::new("another"));
    let both = format!("{}{}", authority.root_pem(), foreign.root_pem());
    let lenient = ServerSettings::new(&authority).with_client_roots(&both);
    let one = NatsServer::start(lenient).await?;
    // Full, so that it cannot say that it does not trust the candidate.
    let two = NatsServer::start(ServerSettings::new(&authority).max_connections(1)).await?;
    let good = authority.issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&good, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let _first = manager.connect(one.url(), settings("one")).await?;
    let second = manager.connect(two.url(), settings("two")).await?;

    let next = foreign.issue(&LeafSpec::client(NAME));
    volume.update(&Contents::new(&next, &authority.root_pem()))?;
    eventually(PATIENCE, "pending", || async {
        let preflight = manager.status().last_preflight;
        Ok(preflight
            .filter(|preflight| preflight.result == "pending")
            .map(|_| ()))
    })
    .await?;
    throughout(WINDOW, "nobody is moved", || async {
        Ok(manager.status().generation == 1 && second.report().connects == 1)
    })
    .await
}

#[tokio::test]
async fn a_connection_that_comes_during_the_question_is_asked_for_too() -> Result<()> {
    let (authority, foreign) = (Authority::new("root"), Authority::new("another"));
    let both = format!("{}{}", authority.root_pem(), foreign.root_pem());
    let lenient = ServerSettings::new(&authority).with_client_roots(&both);
    let one = NatsServer::start(lenient.clone()).await?;
    let slow = NatsServer::start(lenient).await?;
    let strict = NatsServer::start(ServerSettings::new(&authority)).await?;
    let good = authority.issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&good, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let _one = manager.connect(one.url(), settings("one")).await?;
    let _slow = manager.connect(slow.url(), settings("slow")).await?;
    slow.freeze().await?;
    let next = foreign.issue(&LeafSpec::client(NAME));
    volume.update(&Contents::new(&next, &authority.root_pem()))?;
    eventually(PATIENCE, "the question is under way", || async {
        Ok((manager.status().disk.verdict == "pending").then_some(()))
    })
    .await?;
    let late = manager.connect(strict.url(), settings("late")).await?;
    eventually(PATIENCE, "the late one's server is heard", || async {
        let refused = manager.status().disk.reason == Some("server_refused");
        Ok(refused.then_some(()))
    })
    .await?;
    throughout(WINDOW, "nobody is moved", || async {
        Ok(manager.status().generation == 1 && late.report().connects == 1)
    })
    .await?;
    slow.thaw()
}

#[tokio::test]
async fn thirty_connections_that_ask_the_same_are_one_question() -> Result<()> {
    const CROWD: u64 = 30;
    let mut service = Service::start().await?;
    let mut crowd = Vec::new();
    for number in 1..CROWD {
        let settings = ConnectSettings::new().component(format!("connection {number}"));
        crowd.push(
            service
                .manager
                .connect(service.server.url(), settings)
                .await?,
        );
    }
    service.renew()?;
    eventually(PATIENCE, "everybody is on generation 2", || async {
        let moved = |connection: &nats_mtls::Connection| connection.report().connects == 2;
        Ok((crowd.iter().all(moved) && moved(&service.connection)).then_some(()))
    })
    .await?;
    let varz = http::get(&service.server.monitoring_url("/varz")).await?;
    let total = varz.json::<serde_json::Value>()?["total_connections"]
        .as_u64()
        .context("total_connections")?;
    // Each came and moved once; one preflight.
    ensure!(total == 2 * CROWD + 1, "{total} connections were made");
    Ok(())
}
