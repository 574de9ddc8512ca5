//! Promise 4, when no answer means anything: servers that are down, frozen, full, or that refuse
//! the active material just as well. The candidate is pending, never rejected, and is published
//! by itself as soon as a server accepts it, or once there is nothing left to protect.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::nats::Secret;
use nats_mtls::{Authentication, ConnectSettings};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// Several polls, and at least one more question.
const WINDOW: Duration = Duration::from_millis(1_500);

fn hurried(settings: ConnectSettings) -> ConnectSettings {
    settings.connect_timeout(Duration::from_millis(500))
}

/// Waits until the candidate is pending after an answer, and checks that it stays so.
async fn is_pending(service: &Service) -> Result<()> {
    eventually(PATIENCE, "the candidate is pending", || async {
        let status = service.manager.status();
        ensure!(
            status.last_rejection.is_none(),
            "{:?}",
            status.last_rejection
        );
        let last = status.last_preflight.context("not yet asked")?;
        Ok((last.result == "pending" && status.disk.verdict == "pending").then_some(()))
    })
    .await?;
    let detail = service
        .manager
        .status()
        .last_preflight
        .context("asked")?
        .detail;
    let detail = detail.context("it says what was seen")?;
    ensure!(detail.contains("localhost:"), "{detail:?} names no server");
    throughout(WINDOW, "it stays pending", || async {
        let status = service.manager.status();
        ensure!(
            status.last_rejection.is_none(),
            "{:?}",
            status.last_rejection
        );
        Ok(service.generation() == 1 && status.disk.verdict == "pending")
    })
    .await
}

async fn arrives(service: &Service) -> Result<()> {
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    let status = service.manager.status();
    ensure!(status.disk.verdict == "active" && status.last_rejection.is_none());
    ensure!(service.generation() == 2, "{}", service.generation());
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down() -> Result<()> {
    let mut service = Service::start().await?;
    service.server.stop().await?;
    service.renew()?;
    is_pending(&service).await?;
    service.server.restart().await?;
    arrives(&service).await
}

#[tokio::test]
async fn a_server_that_is_frozen() -> Result<()> {
    let mut service = Service::start_with(|s| s, |m| m, hurried).await?;
    let before = service
        .server
        .connection(NAME)
        .await?
        .context("connected")?;
    service.server.freeze().await?;
    service.renew()?;
    is_pending(&service).await?;
    service.server.thaw()?;
    arrives(&service).await?;
    let after = service
        .server
        .connection(NAME)
        .await?
        .context("connected")?;
    ensure!(after.cid > before.cid);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_full() -> Result<()> {
    let mut service = Service::start_with(|server| server.max_connections(1), |m| m, |c| c).await?;
    let before = service
        .server
        .connection(NAME)
        .await?
        .context("connected")?;
    service.renew()?;
    is_pending(&service).await?;
    let during = service
        .server
        .connection(NAME)
        .await?
        .context("connected")?;
    ensure!(during.cid == before.cid, "the connection was moved");
    service
        .server
        .reconfigure(|settings| settings.max_connections(10))?;
    service.server.reload().await?;
    arrives(&service).await
}

/// Both get `authorization violation`: that says nothing about the candidate.
#[tokio::test]
async fn a_server_that_knows_the_user_no_longer() -> Result<()> {
    let login = Authentication::UserPassword {
        user: "orders".to_owned(),
        password: Secret::new("the old one"),
    };
    let mut service = Service::start_with(
        |server| server.password_user("orders", "the old one"),
        |m| m,
        |settings| settings.authentication(login),
    )
    .await?;
    let first = service.identity.clone();
    service
        .server
        .reconfigure(|settings| settings.no_users().password_user("orders", "another one"))?;
    service.server.reload().await?;
    eventually(PATIENCE, "the server cut the connection", || async {
        Ok(service
            .server
            .connection(NAME)
            .await?
            .is_none()
            .then_some(()))
    })
    .await?;
    service.renew()?;
    is_pending(&service).await?;
    let status = service.manager.status();
    let said = status.last_preflight.and_then(|last| last.detail);
    ensure!(said.is_some_and(|detail| detail.contains("authorization violation")));
    let active = status.active.context("active")?.leaf.fingerprint_sha256;
    ensure!(active == first.fingerprint(), "the last good set stays");

    service
        .server
        .reconfigure(|settings| settings.no_users().password_user("orders", "the old one"))?;
    service.server.reload().await?;
    arrives(&service).await
}

#[tokio::test]
async fn one_server_of_two_that_accepts_is_enough_while_the_other_is_down() -> Result<()> {
    let authority = Authority::new("root");
    let up = NatsServer::start(ServerSettings::new(&authority)).await?;
    let down = NatsServer::start(ServerSettings::new(&authority)).await?;
    let first = authority.issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let urls = [up.url(), down.url()];
    let settings = ConnectSettings::new().component(NAME);
    let _connection = manager.connect(&urls[..], settings).await?;
    down.stop().await?;
    let second = authority.renew(&first);
    volume.update(&Contents::new(&second, &authority.root_pem()))?;
    up.sees(NAME, second.fingerprint(), PATIENCE).await?;
    let last = manager.status().last_preflight.context("asked")?;
    ensure!(last.result == "accepted", "{last:?}");
    Ok(())
}

/// An answer is worth waiting for only while the active certificate still works.
#[tokio::test]
async fn once_the_active_certificate_has_expired_nobody_is_asked() -> Result<()> {
    let authority = Authority::new("root");
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let short = LeafSpec::client(NAME).valid(time::Duration::hours(-1), time::Duration::seconds(6));
    let first = authority.issue(&short);
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let settings = ConnectSettings::new().component(NAME);
    let _connection = manager.connect(server.url(), settings).await?;
    server.sees(NAME, first.fingerprint(), PATIENCE).await?;
    server.stop().await?;

    let second = authority.issue(&LeafSpec::client(NAME));
    volume.update(&Contents::new(&second, &authority.root_pem()))?;
    eventually(PATIENCE, "the candidate is pending", || async {
        let last = manager.status().last_preflight.context("asked")?;
        Ok((last.result == "pending").then_some(()))
    })
    .await?;
    let expired = || {
        let first = manager.snapshot();
        first.material().is_expired(std::time::SystemTime::now())
    };
    throughout(WINDOW, "it waits while the old one works", || async {
        Ok(expired() || manager.status().generation == 1)
    })
    .await?;
    eventually(PATIENCE, "published without an answer", || async {
        Ok((manager.status().generation == 2).then_some(()))
    })
    .await?;
    ensure!(
        manager
            .status()
            .last_preflight
            .is_some_and(|last| last.result == "pending")
    );
    server.restart().await?;
    server.sees(NAME, second.fingerprint(), PATIENCE).await?;
    Ok(())
}
