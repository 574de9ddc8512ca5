//! Many rotations leave nothing behind: no descriptor, no connection, no second reconnect.
//! `scripts/test --long` makes it a soak.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::http;
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually};

fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn rotations_leave_nothing_behind() -> Result<()> {
    let rotations: u64 = if nats_mtls_tests::long() { 1_000 } else { 40 };
    let mut service = Service::start().await?;
    let client = service.connection.client().clone();
    let load = tokio::spawn(async move {
        while client.publish("load", "x".into()).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    // What is made once is made after the first few.
    let mut before = 0;
    for rotation in 1..=rotations {
        service.renew()?;
        let fingerprint = service.identity.fingerprint().to_owned();
        service.server.sees(NAME, &fingerprint, PATIENCE).await?;
        if rotation == 5 {
            before = descriptors()?;
        }
    }
    load.abort();
    eventually(PATIENCE, "as many descriptors as before", || async {
        let now = descriptors()?;
        ensure!(now <= before + 3, "{before} descriptors became {now}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(service.connection.report().connects, 1 + rotations);
    let varz = http::get(&service.server.monitoring_url("/varz")).await?;
    let varz: serde_json::Value = varz.json()?;
    let total = varz["total_connections"].as_u64().context("total")?;
    assert_eq!(
        total,
        1 + 2 * rotations,
        "each rotation is one preflight and one move"
    );
    eventually(PATIENCE, "one connection is left", || async {
        Ok((service.server.connections().await?.len() == 1).then_some(()))
    })
    .await
}
