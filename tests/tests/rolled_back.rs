//! Promise 5: if connections cannot come up on a published generation for TLS or authorization
//! causes, the last confirmed material is published again, and the failed set waits in quarantine
//! until a preflight accepts it. Never for an outage, and never back to something expired.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{ConnectSettings, ReloadOutcome, TlsVersions};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::server::{HandshakeFirst, NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// Long enough for a set that flaps: several polls and reconnect attempts.
const WINDOW: Duration = Duration::from_millis(2_500);

fn leaf() -> LeafSpec {
    LeafSpec::client(NAME).dns("orders.example.com")
}

/// Without a preflight, so that what no server would accept is published at all.
async fn unasked(
    server: impl FnOnce(ServerSettings) -> ServerSettings,
    versions: TlsVersions,
) -> Result<Service> {
    Service::start_with(server, |m| m.preflight(false).tls_versions(versions), |c| c).await
}

/// Waits until generation 2 was taken back, and checks what the server and the status show then,
/// and that it stays so.
async fn is_rolled_back(
    service: &Service,
    good: &Identity,
    failed: &Identity,
    cause: &str,
) -> Result<()> {
    eventually(PATIENCE, "rolled back", || async {
        Ok((service.manager.status().rolled_back_from == Some(2)).then_some(()))
    })
    .await?;
    let status = service.manager.status();
    ensure!(status.generation == 3, "{}", status.generation);
    let active = status.active.context("active")?.leaf.fingerprint_sha256;
    ensure!(active == good.fingerprint(), "something else is active");
    ensure!(status.disk.verdict == "rejected" && status.disk.reason == Some("rolled_back"));
    let on_disk = status.disk.leaf.context("read")?.fingerprint_sha256;
    ensure!(
        on_disk == failed.fingerprint(),
        "the files hold the failed set"
    );
    let last = status.last_rejection.context("said")?;
    ensure!(
        last.reason == "rolled_back" && last.part.is_none(),
        "{last:?}"
    );
    ensure!(
        last.detail.contains(cause),
        "{last:?} does not say {cause:?}"
    );

    let seen = service
        .server
        .sees(NAME, good.fingerprint(), PATIENCE)
        .await?;
    eventually(PATIENCE, "up again", || async {
        Ok(service.manager.status().ready.then_some(()))
    })
    .await?;
    let connects = service.connection.report().connects;
    ensure!(connects == 2, "{connects} connects");
    throughout(WINDOW, "it does not flap", || async {
        let status = service.manager.status();
        let now = service
            .server
            .connection(NAME)
            .await?
            .context("connected")?;
        Ok(now.cid == seen.cid
            && service.connection.report().connects == connects
            && status.generation == 3
            && status.disk.reason == Some("rolled_back"))
    })
    .await
}

#[tokio::test]
async fn a_certificate_that_the_server_refuses() -> Result<()> {
    for versions in [TlsVersions::Tls13Only, TlsVersions::Tls12Only] {
        let mut service = unasked(|server| server, versions).await?;
        let good = service.identity.clone();
        let failed = Authority::new("another root").issue(&leaf());
        service.write(failed.clone())?;
        is_rolled_back(&service, &good, &failed, "unknown ca").await?;
    }
    Ok(())
}

#[tokio::test]
async fn roots_that_do_not_know_the_server() -> Result<()> {
    let service = unasked(|server| server, TlsVersions::default()).await?;
    let mut service = service;
    let good = service.identity.clone();
    let failed = service.authority.renew(&good);
    let wrong = Authority::new("another root").root_pem();
    service.volume.update(&Contents::new(&failed, &wrong))?;
    is_rolled_back(&service, &good, &failed, "not trusted").await
}

#[tokio::test]
async fn a_name_that_the_server_has_no_user_for() -> Result<()> {
    let user = |server: ServerSettings| server.user("orders.example.com");
    let mut service = unasked(user, TlsVersions::default()).await?;
    let good = service.identity.clone();
    let renamed = LeafSpec::client(NAME).dns("billing.example.com");
    let failed = service.authority.issue(&renamed);
    service.write(failed.clone())?;
    is_rolled_back(&service, &good, &failed, "authorization violation").await
}

/// The set is known by its content: written again it is not tried again, though nobody is asked.
/// Another set is.
#[tokio::test]
async fn the_failed_set_stays_in_quarantine_and_another_one_does_not() -> Result<()> {
    let mut service = unasked(|server| server, TlsVersions::default()).await?;
    let good = service.identity.clone();
    let failed = Authority::new("another root").issue(&leaf());
    service.write(failed.clone())?;
    is_rolled_back(&service, &good, &failed, "unknown ca").await?;
    let outcome = service.manager.reload().await?;
    ensure!(
        matches!(&outcome, ReloadOutcome::Rejected(rejection) if rejection.reason.as_str() == "rolled_back"),
        "{outcome:?}"
    );

    let next = service.authority.renew(&good);
    service.write(next.clone())?;
    service
        .server
        .sees(NAME, next.fingerprint(), PATIENCE)
        .await?;
    let status = service.manager.status();
    ensure!(status.generation == 4 && status.rolled_back_from.is_none());
    ensure!(status.disk.verdict == "active");

    service.write(failed)?;
    eventually(PATIENCE, "known and refused", || async {
        Ok((service.manager.status().disk.reason == Some("rolled_back")).then_some(()))
    })
    .await?;
    throughout(WINDOW, "not tried again", || async {
        let seen = service.server.certificate_of(NAME).await?;
        Ok(service.generation() == 4 && seen.as_deref() == Some(next.fingerprint()))
    })
    .await
}

#[tokio::test]
async fn never_for_an_outage() -> Result<()> {
    let mut service = unasked(|server| server, TlsVersions::default()).await?;
    service.server.stop().await?;
    eventually(PATIENCE, "the outage is noticed", || async {
        Ok((service.connection.report().state.as_str() == "disconnected").then_some(()))
    })
    .await?;
    service.renew()?;
    eventually(PATIENCE, "published", || async {
        Ok((service.generation() == 2).then_some(()))
    })
    .await?;
    throughout(WINDOW, "not taken back", || async {
        let status = service.manager.status();
        Ok(status.generation == 2 && status.last_rejection.is_none())
    })
    .await?;
    service.server.restart().await?;
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    ensure!(service.generation() == 2);
    Ok(())
}

/// A server that swallows every handshake with the new set says nothing about the set.
#[tokio::test]
async fn never_for_handshakes_without_an_answer() -> Result<()> {
    let mut service = Service::start_with(
        |server| server.handshake_first(HandshakeFirst::Always),
        |manager| manager.preflight(false),
        |settings| {
            settings
                .tls_first(true)
                .connect_timeout(Duration::from_millis(200))
        },
    )
    .await?;
    service.server.freeze().await?;
    service.renew()?;
    eventually(PATIENCE, "tried with the new set, in vain", || async {
        Ok(service.connection.report().last_error.map(|_| ()))
    })
    .await?;
    throughout(WINDOW, "not taken back", || async {
        let status = service.manager.status();
        Ok(status.generation == 2 && status.last_rejection.is_none())
    })
    .await?;
    service.server.thaw()?;
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    ensure!(service.generation() == 2);
    Ok(())
}

/// What was confirmed and has expired since is no better than what failed.
#[tokio::test]
async fn never_back_to_something_expired() -> Result<()> {
    let authority = Authority::new("root");
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let short = leaf().valid(time::Duration::hours(-1), time::Duration::seconds(5));
    let first = authority.issue(&short);
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = service::builder(&volume).preflight(false).build().await?;
    let settings = ConnectSettings::new().component(NAME);
    let connection = manager.connect(server.url(), settings).await?;
    server.sees(NAME, first.fingerprint(), PATIENCE).await?;
    eventually(PATIENCE, "it expires", || async {
        Ok((manager.status().reason == Some("expired")).then_some(()))
    })
    .await?;

    let foreign = Authority::new("another root");
    let second = foreign.issue(&leaf());
    volume.update(&Contents::new(&second, &authority.root_pem()))?;
    eventually(PATIENCE, "refused by the server", || async {
        let error = connection.report().last_error.unwrap_or_default();
        Ok((manager.status().generation == 2 && error.contains("unknown ca")).then_some(()))
    })
    .await?;
    throughout(WINDOW, "not taken back", || async {
        let status = manager.status();
        Ok(status.generation == 2 && status.rolled_back_from.is_none())
    })
    .await?;

    let both = format!("{}{}", authority.root_pem(), foreign.root_pem());
    server.write_client_roots(&both)?;
    server.reload().await?;
    server.sees(NAME, second.fingerprint(), PATIENCE).await?;
    Ok(())
}
