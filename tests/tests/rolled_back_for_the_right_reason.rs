//! Promise 5, the corners: the way back leads to the newest confirmed set, also if another
//! connection fell behind; a node that only INFO named cannot blame good material; a set that is accepted
//! later comes back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::nats::Cause;
use nats_mtls::{CertificateManager, ConnectSettings, Connection, ReloadOutcome};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::{self, NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// Longer than two passes of the client over three servers.
const PASSES: Duration = Duration::from_secs(15);

fn active(manager: &CertificateManager) -> Result<String> {
    let active = manager.status().active.context("something is active")?;
    Ok(active.leaf.fingerprint_sha256)
}

/// Rotates twice, then publishes a set that the server refuses.
async fn rotate_twice_and_fail(service: &mut Service) -> Result<String> {
    for _ in 0..2 {
        service.renew()?;
        let fingerprint = service.identity.fingerprint().to_owned();
        service.server.sees(NAME, &fingerprint, PATIENCE).await?;
    }
    let generation = service.manager.snapshot().generation();
    assert!(service.connection.reached(generation).await);
    let newest = active(&service.manager)?;
    let foreign = Authority::new("another").issue(service.identity.spec());
    service.write(foreign)?;
    eventually(PATIENCE, "rolled back", || async {
        Ok(service.manager.status().rolled_back_from.map(|_| ()))
    })
    .await?;
    Ok(newest)
}

/// Waits until it is up, and checks what each of its reconnects was for.
async fn moved_for(connection: &Connection, causes: &[Cause]) -> Result<()> {
    let all = u64::try_from(causes.len())?;
    let totals = eventually(PATIENCE, "moved and up", || async {
        let totals = connection.report().totals;
        Ok((totals.is_up() && totals.connects == all + 1).then_some(totals))
    })
    .await?;
    for cause in causes {
        ensure!(totals.reconnects.of(*cause) == 1, "{cause:?}: {totals:?}");
    }
    ensure!(totals.reconnects.total() == all && totals.disconnects.total() == all);
    Ok(())
}

#[tokio::test]
async fn a_closed_connection_that_is_still_held_does_not_hold_back_the_others() -> Result<()> {
    let mut service = Service::start_with(|s| s, |m| m.preflight(false), |c| c).await?;
    let settings = ConnectSettings::new().component("side");
    let side = service
        .manager
        .connect(service.server.url(), settings)
        .await?;
    side.client().drain().await?;
    side.closed().await;
    let newest = rotate_twice_and_fail(&mut service).await?;
    assert_eq!(active(&service.manager)?, newest);
    Ok(())
}

#[tokio::test]
async fn nor_does_one_whose_server_is_down() -> Result<()> {
    let mut service = Service::start_with(|s| s, |m| m.preflight(false), |c| c).await?;
    let server = NatsServer::start(ServerSettings::new(&service.authority)).await?;
    let settings = ConnectSettings::new().component("side");
    let side = service.manager.connect(server.url(), settings).await?;
    server.stop().await?;
    eventually(PATIENCE, "the outage is noticed", || async {
        Ok((side.report().state.as_str() == "disconnected").then_some(()))
    })
    .await?;
    let newest = rotate_twice_and_fail(&mut service).await?;
    assert_eq!(active(&service.manager)?, newest);
    Ok(())
}

#[tokio::test]
async fn nodes_that_only_info_named_cannot_blame_the_material() -> Result<()> {
    let authority = Authority::new("root");
    let mut cluster = NatsServer::start_cluster(ServerSettings::new(&authority), 3).await?;
    // The configured node carries the configured name, the others names of their own.
    for node in cluster.iter_mut().skip(1) {
        let own = LeafSpec::server().no_names().dns("other.example.com");
        node.write_identity(&authority.issue(&own))?;
        node.reload().await?;
    }
    let first = authority.issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let settings = ConnectSettings::new().component(NAME);
    let configured = cluster.first().context("a node")?;
    let connection = manager.connect(configured.url(), settings).await?;

    let mut generation = manager.subscribe();
    generation.mark_unchanged();
    let next = authority.renew(&first);
    volume.update(&Contents::new(&next, &authority.root_pem()))?;
    generation.changed().await?;
    configured.kill();
    throughout(PASSES, "an outage takes nothing back", || async {
        Ok(manager.status().rolled_back_from.is_none() && manager.status().generation == 2)
    })
    .await?;
    let error = connection.report().last_error.context("attempts failed")?;
    assert!(
        error.contains("refused"),
        "the configured node's failure is told: {error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_refuses_everything_does_not_make_sets_take_turns() -> Result<()> {
    let mut service = Service::start_with(|s| s, |m| m.preflight(false), |c| c).await?;
    service.renew()?;
    let second = service.identity.fingerprint().to_owned();
    service.server.sees(NAME, &second, PATIENCE).await?;
    let stranger = Authority::new("stranger").root_pem();
    service.server.write_client_roots(&stranger)?;
    service.server.restart().await?;
    service.renew()?;
    eventually(PATIENCE, "rolled back", || async {
        Ok(service.manager.status().rolled_back_from.map(|_| ()))
    })
    .await?;
    assert_eq!(active(&service.manager)?, second);
    throughout(PASSES, "the second set stays, refused as it is", || async {
        Ok(service.manager.status().generation == 4)
    })
    .await
}

/// Two connections to a server each. One server is down when the other one accepts a set, and does
/// not trust it when it is back: everybody goes back. Once both accept it, everybody has it.
#[tokio::test]
async fn an_accepted_preflight_ends_the_quarantine() -> Result<()> {
    let authority = Authority::new("root");
    let foreign = Authority::new("another root");
    let both = format!("{}{}", authority.root_pem(), foreign.root_pem());
    let trusting = ServerSettings::new(&authority).with_client_roots(&both);
    let trusting = NatsServer::start(trusting).await?;
    let mut other = NatsServer::start(ServerSettings::new(&authority)).await?;

    let good = authority.issue(&LeafSpec::client(NAME));
    let mut volume = KubernetesVolume::new(&Contents::new(&good, &authority.root_pem()))?;
    let manager = service::builder(&volume).build().await?;
    let mut connections = Vec::new();
    for (server, name) in [(&trusting, "one"), (&other, "two")] {
        let settings = ConnectSettings::new().component(name);
        connections.push(manager.connect(server.url(), settings).await?);
        server.sees(name, good.fingerprint(), PATIENCE).await?;
    }
    other.stop().await?;
    let next = foreign.issue(&LeafSpec::client(NAME));
    volume.update(&Contents::new(&next, &authority.root_pem()))?;
    trusting.sees("one", next.fingerprint(), PATIENCE).await?;

    other.restart().await?;
    let status = eventually(PATIENCE, "rolled back", || async {
        let status = manager.status();
        Ok((status.rolled_back_from == Some(2)).then_some(status))
    })
    .await?;
    for (server, name) in [(&trusting, "one"), (&other, "two")] {
        server.sees(name, good.fingerprint(), PATIENCE).await?;
    }
    ensure!(status.generation == 3, "{}", status.generation);
    ensure!(
        status.disk.reason == Some("rolled_back"),
        "{:?}",
        status.disk.reason
    );

    // The one was moved onto the set and back; the other was down, and its server kept it down.
    let [one, two] = &connections[..] else {
        anyhow::bail!("two connections");
    };
    moved_for(one, &[Cause::Rotation, Cause::Rollback]).await?;
    moved_for(two, &[Cause::Tls]).await?;
    assert_eq!(two.report().totals.disconnects.of(Cause::Network), 1);

    // Asked again, the server still says no.
    let outcome = manager.reload().await?;
    ensure!(
        matches!(&outcome, ReloadOutcome::Rejected(rejection) if rejection.detail.contains("unknown ca")),
        "{outcome:?}"
    );
    ensure!(manager.status().generation == 3);

    other.write_client_roots(&both)?;
    other.reload().await?;
    let outcome = manager.reload().await?;
    ensure!(
        matches!(outcome, ReloadOutcome::Published(generation) if generation.number() == 4),
        "{outcome:?}"
    );
    for (server, name) in [(&trusting, "one"), (&other, "two")] {
        server.sees(name, next.fingerprint(), PATIENCE).await?;
    }
    let status = manager.status();
    ensure!(status.rolled_back_from.is_none() && status.disk.verdict == "active");
    Ok(())
}
