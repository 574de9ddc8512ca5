//! Promise 7: through the relay core NATS messages in both directions survive a rotation under load: none lost, none
//! repeated, order kept, and the client's TCP connection never dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use nats_mtls::RelaySettings;
use nats_mtls_tests::service::Service;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::time::timeout;

const HANDOVERS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_unmodified_client_under_load() -> Result<()> {
    let mut service = Service::start().await?;
    let settings = RelaySettings::new()
        .listen(([127, 0, 0, 1], 0).into())
        .spread(Duration::ZERO);
    let relay = service
        .manager
        .relay(service.server.url(), settings)
        .await?;
    let url = format!("nats://{}", relay.local_addr());
    let client = async_nats::ConnectOptions::new()
        .name("legacy")
        .connect(url)
        .await?;
    let mut received = client.subscribe("numbers").await?;
    client.flush().await?;

    let goes_on = Arc::new(AtomicBool::new(true));
    let published = Arc::new(AtomicU64::new(0));
    let publisher = {
        let (client, goes_on, published) =
            (client.clone(), Arc::clone(&goes_on), Arc::clone(&published));
        tokio::spawn(async move {
            while goes_on.load(Relaxed) {
                for _ in 0..20 {
                    let number = published.fetch_add(1, Relaxed);
                    client.publish("numbers", number.to_string().into()).await?;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            client.flush().await?;
            anyhow::Ok(())
        })
    };
    let ledger = {
        tokio::spawn(async move {
            let mut expected = 0;
            while let Some(message) = received.next().await {
                let text = std::str::from_utf8(&message.payload)?;
                if text == "end" {
                    break;
                }
                let number: u64 = text.parse()?;
                ensure!(number == expected, "got {number} instead of {expected}");
                expected += 1;
            }
            anyhow::Ok(expected)
        })
    };
    let first = service
        .server
        .connection("legacy")
        .await?
        .context("unknown")?;
    for handover in 1..=HANDOVERS {
        service.renew()?;
        service
            .server
            .sees("legacy", service.identity.fingerprint(), PATIENCE)
            .await?;
        eventually(PATIENCE, "counted", || async {
            let report = relay.report();
            ensure!(report.handovers_ok == handover, "{report:?}");
            Ok(Some(()))
        })
        .await?;
    }
    goes_on.store(false, Relaxed);
    publisher.await??;
    client.publish("numbers", "end".into()).await?;
    let count = timeout(PATIENCE, ledger).await???;
    ensure!(count == published.load(Relaxed));
    let report = relay.report();
    ensure!(
        report.handovers_failed.iter().sum::<u64>() == 0,
        "{report:?}"
    );
    ensure!(report.unmatched == 0, "{report:?}");
    ensure!(client.statistics().connects.load(Relaxed) == 1);
    let last = service
        .server
        .connection("legacy")
        .await?
        .context("unknown")?;
    ensure!(first.fingerprint() != last.fingerprint());

    Ok(())
}
