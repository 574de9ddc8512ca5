//! What the files hold, what is active and what is on the wire are told apart by the metrics, and
//! each reload, preflight and rollback is counted once.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use nats_mtls_tests::files::Contents;
use nats_mtls_tests::metrics::{Metrics, Scrape};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually};

const NOT_AFTER: &str = "nats_mtls_certificate_not_after_timestamp_seconds";
const ALL: &[(&str, &str)] = &[("component", NAME)];

fn unix_now() -> Result<f64> {
    Ok(SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs_f64())
}

/// In how many days the leaf ends, there.
fn days_left(scrape: &Scrape, source: &str) -> Result<f64> {
    let ends = scrape.sum(NOT_AFTER, &[("role", "leaf"), ("source", source)])?;
    Ok(((ends - unix_now()?) / 86_400.0).round())
}

fn leaf_for(days: i64) -> LeafSpec {
    LeafSpec::client(NAME)
        .dns("orders.example.com")
        .valid(time::Duration::hours(-1), time::Duration::days(days))
}

fn reloads(scrape: &Scrape, result: &str) -> Result<u64> {
    scrape.count("nats_mtls_reload_total", &[("result", result)])
}

#[tokio::test]
async fn a_rotation_and_a_rejection() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut service = Service::start().await?;
    let status = service.manager.status_handle();
    let shown = metrics.scrape(&status);
    for source in ["disk", "active", "wire"] {
        ensure!((days_left(&shown, source)? - 30.0).abs() < 0.5, "{source}");
    }
    for (role, source) in [("ca", "disk"), ("ca", "active"), ("server", "wire")] {
        shown.sum(NOT_AFTER, &[("role", role), ("source", source)])?;
    }
    ensure!(
        shown.sum(NOT_AFTER, &[("role", "intermediate")]).is_err(),
        "there is none"
    );
    assert_eq!(shown.count("nats_mtls_last_reload_successful", &[])?, 1);
    assert_eq!(
        shown.count("nats_mtls_disk_differs_since_timestamp_seconds", &[])?,
        0
    );
    let first = shown.sum("nats_mtls_first_connection_seconds", ALL)?;
    ensure!(first > 0.0 && first < 20.0, "{first}");
    assert_eq!(
        shown.count("nats_mtls_rotation_duration_seconds_count", &[])?,
        0
    );

    // A shorter leaf: a warning, but a rotation.
    let shorter = service.authority.issue(&leaf_for(7));
    service.write(shorter)?;
    eventually(PATIENCE, "moved", || async {
        Ok((service.connection.report().connects == 2).then_some(()))
    })
    .await?;
    let shown = metrics.scrape(&status);
    for source in ["disk", "active", "wire"] {
        ensure!((days_left(&shown, source)? - 7.0).abs() < 0.5, "{source}");
    }
    assert_eq!(shown.count("nats_mtls_generation", &[])?, 2);
    assert_eq!(shown.count("nats_mtls_connection_generation", ALL)?, 2);
    assert_eq!(reloads(&shown, "published")?, 2);
    let accepted = [("result", "accepted")];
    assert_eq!(shown.count("nats_mtls_preflight_total", &accepted)?, 1);
    assert_eq!(
        shown.count("nats_mtls_rotation_duration_seconds_count", &[])?,
        1
    );
    let duration = shown.sum("nats_mtls_rotation_duration_seconds_sum", &[])?;
    ensure!(duration > 0.0 && duration < 20.0, "{duration}");

    // A certificate without its key: on disk alone.
    let good = Contents::new(&service.identity, &service.authority.root_pem());
    let stranger = service.authority.issue(&leaf_for(90));
    let mut torn = good.clone();
    torn.certificate = stranger.chain_pem().to_owned();
    service.volume.update(&torn)?;
    let mismatch = [("result", "rejected"), ("reason", "key_mismatch")];
    let shown = eventually(PATIENCE, "rejected", || async {
        let shown = metrics.scrape(&status);
        let count = shown.count("nats_mtls_reload_total", &mismatch)?;
        Ok((count == 1).then_some(shown))
    })
    .await?;
    assert_eq!(reloads(&shown, "rejected")?, 1);
    assert_eq!(shown.count("nats_mtls_last_reload_successful", &[])?, 0);
    ensure!((days_left(&shown, "disk")? - 90.0).abs() < 0.5);
    ensure!((days_left(&shown, "wire")? - 7.0).abs() < 0.5);
    let since = shown.sum("nats_mtls_disk_differs_since_timestamp_seconds", &[])?;
    ensure!((unix_now()? - since).abs() < 20.0, "{since}");

    let info = status.certificate_info();
    let has = |source: &str, fingerprint: &str| {
        info.lines().any(|line| {
            line.contains(&format!("role=\"leaf\",source={source:?}")) && line.contains(fingerprint)
        })
    };
    ensure!(has("disk", stranger.fingerprint()), "{info}");
    ensure!(has("active", service.identity.fingerprint()), "{info}");
    ensure!(has("wire", service.identity.fingerprint()), "{info}");

    // Back to what is active: nothing is published, and the alarm is over.
    service.volume.update(&good)?;
    let shown = eventually(PATIENCE, "in step again", || async {
        let shown = metrics.scrape(&status);
        let successful = shown.count("nats_mtls_last_reload_successful", &[])?;
        Ok((successful == 1).then_some(shown))
    })
    .await?;
    assert_eq!(reloads(&shown, "unchanged")?, 1);
    assert_eq!(reloads(&shown, "published")?, 2);
    assert_eq!(
        shown.count("nats_mtls_disk_differs_since_timestamp_seconds", &[])?,
        0
    );
    service.manager.reload().await?;
    assert_eq!(reloads(&metrics.scrape(&status), "unchanged")?, 2);
    ensure!(!status.certificate_info().contains(stranger.fingerprint()));
    Ok(())
}

/// A rejection is over once a good set takes its place, also while that one waits for a server.
#[tokio::test]
async fn a_good_set_that_waits_after_a_rejection() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut service = Service::start().await?;
    let status = service.manager.status_handle();
    let good = Contents::new(&service.identity, &service.authority.root_pem());
    let mut torn = good.clone();
    let stranger = service.authority.issue(&leaf_for(90));
    torn.certificate = stranger.chain_pem().to_owned();
    service.volume.update(&torn)?;
    eventually(PATIENCE, "rejected", || async {
        let shown = metrics.scrape(&status);
        let successful = shown.count("nats_mtls_last_reload_successful", &[])?;
        Ok((successful == 0).then_some(()))
    })
    .await?;
    service.server.stop().await?;
    service.renew()?;
    eventually(PATIENCE, "nobody answers the preflight", || async {
        let pending = [("result", "pending")];
        let shown = metrics.scrape(&status);
        Ok((shown.count("nats_mtls_preflight_total", &pending)? > 0).then_some(()))
    })
    .await?;
    let shown = metrics.scrape(&status);
    assert_eq!(shown.count("nats_mtls_last_reload_successful", &[])?, 1);
    let since = shown.sum("nats_mtls_disk_differs_since_timestamp_seconds", &[])?;
    ensure!(since > 0.0, "nothing says that a set waits");
    assert_eq!(reloads(&shown, "published")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_refusal() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut service = Service::start().await?;
    let status = service.manager.status_handle();
    let refused = Authority::new("somebody else").issue(&leaf_for(30));
    service.write(refused)?;
    eventually(PATIENCE, "refused", || async {
        let answers = [("result", "refused")];
        let shown = metrics.scrape(&status);
        Ok((shown.count("nats_mtls_preflight_total", &answers)? > 0).then_some(()))
    })
    .await?;
    let rejected = [("reason", "server_refused")];
    let shown = metrics.scrape(&status);
    assert_eq!(shown.count("nats_mtls_reload_total", &rejected)?, 1);
    Ok(())
}

#[tokio::test]
async fn a_rollback() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut service = Service::start_with(|s| s, |m| m.preflight(false), |c| c).await?;
    let refused = Authority::new("somebody else").issue(&leaf_for(30));
    let status = service.manager.status_handle();
    service.write(refused)?;
    eventually(PATIENCE, "rolled back", || async {
        let shown = metrics.scrape(&status);
        let rollbacks = shown.count("nats_mtls_rollback_total", &[("reason", "tls")])?;
        let up = shown.count("nats_mtls_connection_up", ALL)? == 1;
        Ok((rollbacks == 1 && up).then_some(()))
    })
    .await?;
    let shown = metrics.scrape(&status);
    assert_eq!(shown.count("nats_mtls_rollback_total", &[])?, 1);
    assert_eq!(reloads(&shown, "published")?, 3);
    // Nothing new is on the wire: no change has come through.
    assert_eq!(
        shown.count("nats_mtls_rotation_duration_seconds_count", &[])?,
        0
    );
    assert_eq!(shown.count("nats_mtls_last_reload_successful", &[])?, 0);
    Ok(())
}

#[tokio::test]
async fn a_scrape_is_small_and_fast() -> Result<()> {
    let metrics = Metrics::install()?;
    let service = Service::start().await?;
    let status = service.manager.status_handle();
    let scrape = metrics.scrape(&status);
    let size = scrape.0.len() + status.certificate_info().len();
    ensure!(size < 32 * 1024, "{size} bytes");
    let began = std::time::Instant::now();
    for _ in 0..100 {
        std::hint::black_box((metrics.scrape(&status), status.certificate_info()));
    }
    let each = began.elapsed() / 100;
    println!("{size} bytes in {each:?}");
    // The promise is 2 ms; this is a debug build on a busy machine.
    ensure!(each < Duration::from_millis(20), "{each:?}");
    Ok(())
}
