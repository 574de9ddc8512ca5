//! What is left when something hangs or ends: nothing that dials, nothing that blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use nats_mtls::reload::ReloadOutcome;
use nats_mtls::source::{FilesSource, RawMaterial, ReadError, Source, SourceFuture, WatcherMode};
use nats_mtls::{CertificateManager, ConnectSettings};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually};

/// Longer than the longest pause between two dials.
const SEVERAL_DIALS: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_connection_that_was_drained_while_refused_never_dials_again() -> Result<()> {
    let mut service = Service::start().await?;
    let stranger = Authority::new("stranger").root_pem();
    service.server.write_client_roots(&stranger)?;
    service.server.restart().await?;
    eventually(PATIENCE, "refused", || async {
        Ok(service.connection.report().last_error.map(|_| ()))
    })
    .await?;
    let closed = service.connection.drain(Duration::from_millis(200)).await;
    assert!(!closed, "there was no connection to drain");
    // One dial may be under way while the end is asked for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refusals = |server: &NatsServer| server.log().matches("TLS handshake error").count();
    let before = refusals(&service.server);
    tokio::time::sleep(SEVERAL_DIALS).await;
    assert_eq!(refusals(&service.server), before, "it goes on dialling");
    Ok(())
}

/// Files that stop answering, as on a dead network mount.
struct Hanging {
    files: FilesSource,
    hangs: Arc<AtomicBool>,
}

impl Source for Hanging {
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>> {
        if self.hangs.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        self.files.read()
    }

    fn changed(&mut self) -> SourceFuture<'_, ()> {
        self.files.changed()
    }

    fn watcher_mode(&self) -> WatcherMode {
        self.files.watcher_mode()
    }
}

#[tokio::test]
async fn a_source_that_hangs_is_said_to_and_the_connection_goes_on() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let identity = authority.issue(&LeafSpec::client(NAME));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let hangs = Arc::new(AtomicBool::new(false));
    let manager = CertificateManager::builder()
        .source(Hanging {
            files: service::files(&volume).into_source(),
            hangs: Arc::clone(&hangs),
        })
        .build()
        .await?;
    let settings = ConnectSettings::new().component(NAME);
    let connection = manager.connect(server.url(), settings).await?;
    hangs.store(true, Ordering::SeqCst);
    let outcome = tokio::time::timeout(PATIENCE, manager.reload()).await??;
    let ReloadOutcome::Rejected(rejection) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(rejection.reason.as_str(), "read_error");
    assert!(rejection.detail.contains("no answer within"), "{rejection}");
    assert!(manager.status().ready, "what is active serves on");
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(manager.reload().await?, ReloadOutcome::Unchanged);
    assert_eq!(connection.report().connects, 1);
    Ok(())
}

#[tokio::test]
async fn absurd_durations_are_bounded() -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let manager = service::builder(&volume)
        .poll_interval(Duration::MAX)
        .settle(Duration::MAX)
        .spread(Duration::MAX)
        .build()
        .await?;
    let mut torn = Contents::new(&authority.renew(&identity), &authority.root_pem());
    torn.key.clear();
    volume.update(&torn)?;
    eventually(PATIENCE, "given time", || async {
        Ok((manager.status().disk.verdict == "settling").then_some(()))
    })
    .await?;
    assert!(matches!(
        manager.reload().await?,
        ReloadOutcome::Rejected(_)
    ));
    Ok(())
}
