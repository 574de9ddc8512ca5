//! async-nats drops events under pressure: its own channel has room for 128. State, events, epoch
//! and metrics stay right all the same.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use nats_mtls::Backoff;
use nats_mtls::nats::{Cause, ConnectionState};
use nats_mtls_tests::logs::LogCapture;
use nats_mtls_tests::metrics::Metrics;
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

const BURST: usize = 500;
const ALL: &[(&str, &str)] = &[("component", NAME)];

/// 5,000 messages come at once for a subscriber with room for one, so that the client has an event for
/// each but the first, and the server dies: 500 events and more are lost, and the disconnect may be too.
#[tokio::test]
async fn an_outage_behind_a_burst_of_lost_events_is_seen() -> Result<()> {
    const MESSAGES: usize = 5_000;
    let log = LogCapture::install()?;
    let metrics = Metrics::install()?;
    let mut service = Service::start_with(
        |server| server,
        |manager| manager,
        |settings| settings.subscription_capacity(1),
    )
    .await?;
    let mut events = service.connection.events();
    let client = service.connection.client().clone();
    let _nobody_reads = client.subscribe("burst").await?;
    for _ in 0..MESSAGES {
        client.publish("burst", "".into()).await?;
    }
    client.flush().await?;
    // Nothing of this process runs while the server delivers, so that all of it is read at once: this
    // blocks the runtime on purpose.
    std::thread::sleep(Duration::from_millis(500));
    service.server.kill();
    std::thread::sleep(Duration::from_millis(50));
    let totals = eventually(PATIENCE, "the outage is noticed", || async {
        let report = service.connection.report();
        let down = report.state == ConnectionState::Disconnected;
        Ok(down.then_some(report.totals))
    })
    .await?;
    assert_eq!(totals.disconnects.of(Cause::Network), 1);
    assert_eq!(totals.disconnects.total(), 1);
    // Or this test shows nothing.
    let text = log.text();
    let happened = text.matches("slow consumer detected for subscription");
    let told = text.matches("event: slow consumers for subscription");
    let (happened, told) = (happened.count(), told.count());
    assert_eq!(happened, MESSAGES - 1);
    ensure!(happened - told >= BURST, "{told} of {happened} were told");

    service.server.restart().await?;
    eventually(PATIENCE, "up again", || async {
        let up = service.connection.report().state == ConnectionState::Connected;
        Ok(up.then_some(()))
    })
    .await?;
    throughout(Duration::from_millis(500), "one outage", || async {
        let totals = service.connection.report().totals;
        Ok(totals.connects == 2 && totals.disconnects.total() == 1)
    })
    .await?;
    ensure!(events.len() == 2, "{:?}", events.try_recv());
    let scrape = metrics.scrape(&service.manager.status_handle());
    assert_eq!(scrape.count("nats_mtls_outage_seconds_count", ALL)?, 1);
    Ok(())
}

/// A hundred reconnects, one by one and as fast as the client makes them, then 500 that are asked for
/// at once: each that was made is counted, whether or not anybody looked in between.
#[tokio::test]
async fn every_forced_reconnect_is_counted() -> Result<()> {
    const ROUNDS: u64 = 100;
    let metrics = Metrics::install()?;
    let fast = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let service = Service::start_with(
        |server| server,
        |manager| manager,
        |settings| settings.reconnect_backoff(fast),
    )
    .await?;
    let client = service.connection.client().clone();
    let truth = || client.statistics().connects.load(Ordering::SeqCst);
    for round in 1..=ROUNDS {
        client.force_reconnect().await?;
        eventually(PATIENCE, "up again", || async {
            Ok((truth() > round).then_some(()))
        })
        .await?;
    }
    assert_eq!(truth(), ROUNDS + 1);
    let before = SystemTime::now();
    // async-nats makes one of those that it finds in its queue together: how many, it counts.
    for _ in 0..BURST {
        client.force_reconnect().await?;
    }
    eventually(PATIENCE, "the dust settles", || async {
        let before = truth();
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok((truth() == before).then_some(()))
    })
    .await?;
    let connects = truth();
    ensure!(connects > ROUNDS + 1, "the burst made none");
    let totals = eventually(PATIENCE, "all are counted", || async {
        let report = service.connection.report();
        let up = report.state == ConnectionState::Connected;
        Ok(Some(report.totals).filter(|totals| up && totals.connects == connects))
    })
    .await?;
    ensure!(service.connection.report().since >= before);
    assert_eq!(totals.disconnects.of(Cause::Network), connects - 1);
    assert_eq!(totals.reconnects.of(Cause::Network), connects - 1);
    assert_eq!(totals.disconnects.total(), connects - 1);
    assert_eq!(totals.reconnects.total(), connects - 1);
    assert_eq!(*service.connection.reconnect_epoch().borrow(), connects - 1);
    let scrape = metrics.scrape(&service.manager.status_handle());
    let outages = scrape.count("nats_mtls_outage_seconds_count", ALL)?;
    assert_eq!(outages, connects - 1);
    Ok(())
}
