//! Promise 4: every registered connection's servers are asked before a publish. What one of them
//! refuses is not published, with the true cause, and no live connection is moved to it; it is
//! asked about again by itself.
//!
//! Servers that do not answer are in `asked_before_published_unreachable`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{ConnectSettings, TlsVersions};
use nats_mtls_tests::connz::Connection;
use nats_mtls_tests::file_service::{FileService, REVOCATION_LISTS, with_revocation_lists};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// Several polls, and at least one more question.
const WINDOW: Duration = Duration::from_millis(1_500);

fn leaf() -> LeafSpec {
    LeafSpec::client(NAME).dns("orders.example.com")
}

/// Waits until the candidate is refused, and checks what is said and that it stays so: nothing
/// is published, the server sees the old connection.
async fn is_refused(
    service: &Service,
    before: &Connection,
    reason: &str,
    cause: &str,
) -> Result<()> {
    let said = || {
        let status = service.manager.status();
        let detail = status.disk.detail.unwrap_or_default();
        let last = status.last_rejection;
        let preflight = status.last_preflight;
        let known = status.disk.reason == Some(reason) && status.disk.verdict == "rejected";
        if known {
            ensure!(detail.contains(cause), "{detail:?} does not say {cause:?}");
            ensure!(detail.contains("localhost:"), "{detail:?} names no server");
            let last = last.context("no last_rejection")?;
            ensure!(last.reason == reason && last.part.is_none(), "{last:?}");
            let preflight = preflight.context("no last_preflight")?;
            ensure!(preflight.result == "refused", "{preflight:?}");
            ensure!(
                preflight.detail.as_deref() == Some(&*detail),
                "{preflight:?}"
            );
        }
        Ok(known)
    };
    eventually(PATIENCE, "the candidate is refused", || async {
        Ok(said()?.then_some(()))
    })
    .await?;
    let connects = service.connection.report().connects;
    throughout(WINDOW, "nobody moves", || async {
        let seen = service
            .server
            .connection(NAME)
            .await?
            .context("connected")?;
        let status = service.manager.status();
        // Also while it is asked about again.
        ensure!(status.disk.verdict == "rejected" && status.disk.reason == Some(reason));
        Ok(seen.cid == before.cid
            && seen.fingerprint() == before.fingerprint()
            && service.connection.report().connects == connects
            && service.generation() == 1
            && status.ready)
    })
    .await
}

async fn connected(service: &Service) -> Result<Connection> {
    service.server.connection(NAME).await?.context("connected")
}

async fn arrives(service: &Service) -> Result<()> {
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    ensure!(service.manager.status().disk.verdict == "active");
    Ok(())
}

#[tokio::test]
async fn a_leaf_of_a_foreign_ca_waits_until_the_server_trusts_it() -> Result<()> {
    for versions in [TlsVersions::Tls13Only, TlsVersions::Tls12Only] {
        let mut service = Service::start_with(|s| s, |m| m.tls_versions(versions), |c| c).await?;
        let before = connected(&service).await?;
        let foreign = Authority::new("another root");
        service.write(foreign.issue(&leaf()))?;
        is_refused(&service, &before, "server_refused", "unknown ca").await?;

        let both = format!("{}{}", service.authority.root_pem(), foreign.root_pem());
        service.server.write_client_roots(&both)?;
        service.server.reload().await?;
        arrives(&service).await?;
        let status = service.manager.status();
        ensure!(service.generation() == 2 && status.rolled_back_from.is_none());
        ensure!(
            status
                .last_preflight
                .is_some_and(|last| last.result == "accepted")
        );
    }
    Ok(())
}

#[tokio::test]
async fn roots_without_the_servers_are_refused_by_ourselves() -> Result<()> {
    for versions in [TlsVersions::Tls13Only, TlsVersions::Tls12Only] {
        let mut service = Service::start_with(|s| s, |m| m.tls_versions(versions), |c| c).await?;
        let before = connected(&service).await?;
        let next = Authority::new("the next root");
        let renewed = service.authority.renew(&service.identity);
        service
            .volume
            .update(&Contents::new(&renewed, &next.root_pem()))?;
        is_refused(&service, &before, "server_untrusted", "unknown issuer").await?;

        // The server is renewed too: now these roots are right.
        service
            .server
            .write_identity(&next.issue(&LeafSpec::server()))?;
        service.server.reload().await?;
        service.identity = renewed;
        arrives(&service).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_of_another_name_is_refused_by_ourselves() -> Result<()> {
    let mut service = Service::start().await?;
    let before = connected(&service).await?;
    let name = LeafSpec::server().no_names().dns("other.example.com");
    let stranger = service.authority.issue(&name);
    service.server.write_identity(&stranger)?;
    service.server.reload().await?;
    service.renew()?;
    is_refused(&service, &before, "server_untrusted", "name mismatch").await?;

    let right = service.authority.issue(&LeafSpec::server());
    service.server.write_identity(&right)?;
    service.server.reload().await?;
    arrives(&service).await
}

#[tokio::test]
async fn revoking_the_servers_certificate_is_refused_by_ourselves() -> Result<()> {
    let mut service = FileService::start(|m, files| m.files(with_revocation_lists(files))).await?;
    let before = service
        .server
        .connection(NAME)
        .await?
        .context("connected")?;
    let bad = service.authority.issue(&LeafSpec::server());
    service.server.write_identity(&bad)?;
    service.server.reload().await?;
    let lists = service
        .authority
        .revocation_list(&[&bad], time::Duration::days(1));
    fs::write(service.files.directory().join(REVOCATION_LISTS), lists)?;
    eventually(PATIENCE, "the candidate is refused", || async {
        let status = service.manager.status();
        let detail = status.disk.detail.unwrap_or_default();
        let refused = status.disk.reason == Some("server_untrusted");
        ensure!(!refused || detail.contains("revoked"), "{detail}");
        Ok(refused.then_some(()))
    })
    .await?;
    throughout(WINDOW, "nobody moves", || async {
        let seen = service
            .server
            .connection(NAME)
            .await?
            .context("connected")?;
        Ok(seen.cid == before.cid && service.generation() == 1)
    })
    .await?;

    let good = service.authority.issue(&LeafSpec::server());
    service.server.write_identity(&good)?;
    service.server.reload().await?;
    eventually(PATIENCE, "published and moved", || async {
        let seen = service
            .server
            .connection(NAME)
            .await?
            .context("connected")?;
        Ok((service.generation() == 2 && seen.cid > before.cid).then_some(()))
    })
    .await
}

/// The server knows a user for the old names only: what the active material gets, the candidate
/// does not.
#[tokio::test]
async fn names_without_a_user_are_refused() -> Result<()> {
    let old = "orders.example.com";
    let mut service = Service::start_with(|server| server.user(old), |m| m, |c| c).await?;
    let before = connected(&service).await?;
    ensure!(before.authorized_user == old, "{before:?}");
    let renamed = LeafSpec::client(NAME).dns("billing.example.com");
    let renamed = service.authority.issue(&renamed);
    service.write(renamed)?;
    is_refused(
        &service,
        &before,
        "server_refused",
        "authorization violation",
    )
    .await?;

    service
        .server
        .reconfigure(|settings| settings.user("billing.example.com"))?;
    service.server.reload().await?;
    arrives(&service).await?;
    let after = connected(&service).await?;
    ensure!(after.authorized_user == "billing.example.com", "{after:?}");
    ensure!(
        service
            .manager
            .status()
            .warnings
            .contains(&"identity_changed")
    );
    Ok(())
}

/// Two servers: the one the connection is on accepts, the other one, which it may be on tomorrow,
/// does not.
#[tokio::test]
async fn one_server_of_two_that_refuses_is_enough() -> Result<()> {
    let authority = Authority::new("root");
    let accepts = NatsServer::start(ServerSettings::new(&authority)).await?;
    let mut refuses = NatsServer::start(ServerSettings::new(&authority)).await?;
    let first = authority.issue(&leaf());
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let settings = ConnectSettings::new().component(NAME);
    let urls = [accepts.url(), refuses.url()];
    let connection = manager.connect(&urls[..], settings).await?;

    let foreign = Authority::new("another root");
    let both = format!("{}{}", authority.root_pem(), foreign.root_pem());
    let mut accepts = accepts;
    accepts.write_client_roots(&both)?;
    accepts.reload().await?;
    let second = foreign.issue(&leaf());
    volume.update(&Contents::new(&second, &authority.root_pem()))?;
    eventually(PATIENCE, "the candidate is refused", || async {
        let status = manager.status();
        let detail = status.disk.detail.unwrap_or_default();
        let refused = status.disk.reason == Some("server_refused");
        let culprit = format!("localhost:{}", refuses.port());
        ensure!(!refused || detail.contains(&culprit), "{detail}");
        Ok(refused.then_some(()))
    })
    .await?;
    throughout(WINDOW, "nobody moves", || async {
        let report = connection.report();
        Ok(report.connects == 1 && manager.snapshot().generation().number() == 1)
    })
    .await?;

    refuses.write_client_roots(&both)?;
    refuses.reload().await?;
    eventually(
        PATIENCE,
        "one of them shows the new certificate",
        || async {
            for server in [&accepts, &refuses] {
                if server.certificate_of(NAME).await?.as_deref() == Some(second.fingerprint()) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        },
    )
    .await
}

/// Without anybody to ask, the status says that nobody was asked.
#[tokio::test]
async fn without_a_gate_the_status_says_so() -> Result<()> {
    let authority = Authority::new("root");
    let first = authority.issue(&leaf());
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    ensure!(
        manager.status().last_preflight.is_none(),
        "the first set is not asked about"
    );
    let second = authority.renew(&first);
    volume.update(&Contents::new(&second, &authority.root_pem()))?;
    eventually(PATIENCE, "published", || async {
        Ok((manager.status().generation == 2).then_some(()))
    })
    .await?;
    let last = manager.status().last_preflight.context("said")?;
    ensure!(last.result == "not_asked", "{last:?}");
    ensure!(
        last.detail.as_deref() == Some("no server is registered"),
        "{last:?}"
    );

    let mut service = Service::start_with(|s| s, |m| m.preflight(false), |c| c).await?;
    service.renew()?;
    arrives(&service).await?;
    let last = service.manager.status().last_preflight.context("said")?;
    ensure!(last.result == "not_asked", "{last:?}");
    ensure!(
        last.detail.as_deref() == Some("preflight is switched off"),
        "{last:?}"
    );
    Ok(())
}
