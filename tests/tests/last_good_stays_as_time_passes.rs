//! Promise 3, at the start and as time passes: a process that starts with bad or missing files
//! recovers by itself, and a set is judged again at each poll.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{BuildError, CertificateManager, ConnectSettings, Policy, StartupPolicy};
use nats_mtls_tests::file_service::{FileService, builder, rejections_in_log};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::NAME;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use tokio::time::timeout;

fn leaf() -> LeafSpec {
    LeafSpec::client(NAME).dns("orders.example.com")
}

/// Several polls.
const WINDOW: Duration = Duration::from_millis(700);

async fn shows(manager: &CertificateManager, server: &NatsServer, fingerprint: &str) -> Result<()> {
    let settings = ConnectSettings::new().component(NAME);
    let _connection = manager.connect(server.url(), settings).await?;
    server.sees(NAME, fingerprint, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn missing_files_are_waited_for() -> Result<()> {
    for startup in [
        StartupPolicy::RetryForever,
        StartupPolicy::RetryFor(PATIENCE),
    ] {
        let authority = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        let files = PlainFiles::empty()?;
        ensure!(rejections_in_log(files.directory()) == 0);
        let builder = builder(&files).startup(startup);
        let handle = builder.status_handle();
        let building = tokio::spawn(builder.build());
        eventually(PATIENCE, "it is said", || async {
            Ok((handle.status().disk.reason == Some("read_error")).then_some(()))
        })
        .await?;
        throughout(WINDOW, "it waits", || async {
            let status = handle.status();
            let health = handle.health();
            Ok(!building.is_finished()
                && status.disk.verdict == "unreadable"
                && status.reason == Some("no_material")
                && health.liveness.as_str() == "alive")
        })
        .await?;
        ensure!(
            rejections_in_log(files.directory()) == 1,
            "said again and again"
        );

        let identity = authority.issue(&leaf());
        files.rename_over(&Contents::new(&identity, &authority.root_pem()))?;
        let manager = timeout(PATIENCE, building).await???;
        shows(&manager, &server, identity.fingerprint()).await?;
        let status = manager.status();
        ensure!(status.generation == 1 && status.disk.verdict == "active");
        let kept = status.last_rejection.context("last_rejection is kept")?;
        ensure!(kept.reason == "read_error", "{kept:?}");
    }
    Ok(())
}

/// The rejection of a build that must fail, with what it says to people.
async fn refusal(files: &PlainFiles, startup: StartupPolicy) -> Result<(String, String)> {
    let outcome = timeout(PATIENCE, builder(files).startup(startup).build()).await?;
    let error = outcome.err().context("it started")?;
    let text = error.to_string();
    let BuildError::NoMaterial {
        rejection: Some(rejection),
        ..
    } = error
    else {
        anyhow::bail!("no reason: {text}");
    };
    ensure!(text.contains(&rejection.detail), "{text}");
    ensure!(text.contains(rejection.reason.advice()), "{text}");
    Ok((rejection.reason.as_str().to_owned(), rejection.detail))
}

#[tokio::test]
async fn a_start_that_gives_up_names_the_reason() -> Result<()> {
    let authority = Authority::new("root");
    let good = Contents::new(&authority.issue(&leaf()), &authority.root_pem());
    for startup in [
        StartupPolicy::FailFast,
        StartupPolicy::RetryFor(Duration::from_millis(300)),
    ] {
        let files = PlainFiles::empty()?;
        let (reason, detail) = refusal(&files, startup).await?;
        ensure!(reason == "read_error", "{reason}");
        ensure!(detail.contains("tls.crt"), "{detail}");

        files.write_in_place(&good)?;
        files.write(Part::Roots, "")?;
        let (reason, detail) = refusal(&files, startup).await?;
        ensure!(reason == "empty_roots", "{reason}");
        ensure!(detail.contains("ca.crt"), "{detail}");

        let expired = authority.issue(&leaf().expired());
        files.write_in_place(&Contents::new(&expired, &authority.root_pem()))?;
        let (reason, detail) = refusal(&files, startup).await?;
        ensure!(reason == "expired", "{reason}");
        ensure!(detail.contains("notAfter"), "{detail}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_expired_at_the_start_can_be_healed_later() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let expired = authority.issue(&leaf().expired());
    let files = PlainFiles::new(&Contents::new(&expired, &authority.root_pem()))?;
    let builder = builder(&files).startup(StartupPolicy::RetryForever);
    let handle = builder.status_handle();
    let building = tokio::spawn(builder.build());
    eventually(PATIENCE, "it is said", || async {
        Ok((handle.status().disk.reason == Some("expired")).then_some(()))
    })
    .await?;
    throughout(WINDOW, "nothing expired is published", || async {
        Ok(handle.status().generation == 0 && !building.is_finished())
    })
    .await?;
    let healed = authority.issue(&leaf());
    files.write_in_place(&Contents::new(&healed, &authority.root_pem()))?;
    let manager = timeout(PATIENCE, building).await???;
    shows(&manager, &server, healed.fingerprint()).await
}

#[tokio::test]
async fn a_set_from_the_future_is_taken_when_its_time_comes() -> Result<()> {
    let strict = Policy::default().clock_skew(Duration::ZERO);
    let mut service = FileService::start(|m, _| m.policy(strict)).await?;
    let before = service
        .server
        .connection(NAME)
        .await?
        .context("connected")?;
    ensure!(rejections_in_log(service.files.directory()) == 0);
    let ahead = time::Duration::seconds(4);
    let spec = leaf().valid(ahead, time::Duration::days(30));
    service.identity = service.authority.issue(&spec);
    service.files.rename_over(&service.contents())?;
    // Certificates have whole seconds.
    let begin = SystemTime::now() + Duration::from_secs(3);
    eventually(PATIENCE, "it is too early", || async {
        let status = service.manager.status();
        Ok((status.disk.reason == Some("not_yet_valid")).then_some(()))
    })
    .await?;
    throughout(Duration::from_secs(1), "it is too early", || async {
        let seen = service
            .server
            .connection(NAME)
            .await?
            .context("connected")?;
        Ok(seen.cid == before.cid && service.generation() == 1 || SystemTime::now() >= begin)
    })
    .await?;
    // Nobody touches the files.
    service.arrives().await?;
    ensure!(service.generation() == 2);
    ensure!(
        rejections_in_log(service.files.directory()) == 1,
        "said again and again"
    );
    Ok(())
}

/// A clock that runs ahead sees two expired sets. To stay on the one that ends first would freeze
/// us; no server is asked, because there is nothing left to protect.
#[tokio::test]
async fn of_two_expired_sets_the_later_one_is_taken_with_a_warning() -> Result<()> {
    let authority = Authority::new("root");
    let until = |seconds| leaf().valid(time::Duration::hours(-1), time::Duration::seconds(seconds));
    let first = authority.issue(&until(3));
    let files = PlainFiles::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = builder(&files).build().await?;
    eventually(PATIENCE, "it expires", || async {
        Ok((manager.status().reason == Some("expired")).then_some(()))
    })
    .await?;

    let earlier = authority.issue(&until(-60));
    files.rename_over(&Contents::new(&earlier, &authority.root_pem()))?;
    eventually(PATIENCE, "the earlier one is rejected", || async {
        let status = manager.status();
        let shown = status.disk.leaf.map(|leaf| leaf.fingerprint_sha256);
        let judged = shown.as_deref() == Some(earlier.fingerprint());
        Ok((judged && status.disk.reason == Some("expired")).then_some(()))
    })
    .await?;
    ensure!(manager.status().generation == 1);

    // An end that is past, and whole seconds after that of the first.
    let end = manager.snapshot().material().not_after() + Duration::from_secs(3);
    eventually(PATIENCE, "some seconds pass", || async {
        Ok((SystemTime::now() > end).then_some(()))
    })
    .await?;
    let later = authority.issue(&until(-1));
    files.rename_over(&Contents::new(&later, &authority.root_pem()))?;
    eventually(PATIENCE, "the later one is taken", || async {
        Ok((manager.status().generation == 2).then_some(()))
    })
    .await?;
    let status = manager.status();
    let active = status.active.context("active")?.leaf.fingerprint_sha256;
    ensure!(active == later.fingerprint());
    ensure!(
        status.warnings.contains(&"local_clock"),
        "{:?}",
        status.warnings
    );
    ensure!(status.reason == Some("expired"), "{:?}", status.reason);
    Ok(())
}
