//! Promise 6: every publish moves every connection, CA-only changes too; one rotation is one
//! reconnect; nothing is queued while disconnected; the same content again causes nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nats_mtls::nats::Cause;
use nats_mtls::{ConnectSettings, ConnectionEvent};
use nats_mtls_tests::files::{Contents, Part};
use nats_mtls_tests::pki::Authority;
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// Long enough for a move that should not be: several polls.
const QUIET: Duration = Duration::from_millis(1_500);

async fn settled(service: &Service, generation: u64) -> Result<()> {
    eventually(PATIENCE, "the generation is on the wire", || async {
        let report = service.connection.report();
        let wire = report
            .generation
            .map_or(0, |generation| generation.number());
        Ok((service.generation() == generation && wire == generation).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_change_of_the_ca_alone_moves_the_connection() -> Result<()> {
    let mut service = Service::start().await?;
    let before = service.server.connection(NAME).await?.expect("connected");
    let more = Authority::new("another root").root_pem();
    let roots = format!("{}{more}", service.authority.root_pem());
    service
        .volume
        .update(&Contents::new(&service.identity, &roots))?;
    settled(&service, 2).await?;
    let after = service.server.connection(NAME).await?.expect("connected");
    ensure!(after.cid > before.cid, "the connection was not moved");
    assert_eq!(service.connection.report().connects, 2);
    Ok(())
}

#[tokio::test]
async fn one_rotation_is_one_reconnect_and_its_cause_is_told() -> Result<()> {
    let mut service = Service::start().await?;
    let mut events = service.connection.events();
    let epoch = service.connection.reconnect_epoch();
    service.renew()?;
    settled(&service, 2).await?;
    throughout(QUIET, "no second reconnect", || async {
        Ok(service.connection.report().connects == 2)
    })
    .await?;
    let down = events.recv().await?;
    assert_eq!(
        down,
        ConnectionEvent::Disconnected {
            cause: Cause::Rotation
        }
    );
    let up = events.recv().await?;
    ensure!(
        matches!(up, ConnectionEvent::Reconnected { cause: Cause::Rotation, generation, .. } if generation.number() == 2),
        "{up:?}"
    );
    ensure!(events.is_empty(), "more events than one move has");
    assert_eq!(*epoch.borrow(), 1);
    Ok(())
}

#[tokio::test]
async fn a_thousand_rewrites_of_the_same_content_cause_nothing() -> Result<()> {
    let mut service = Service::start().await?;
    let roots = service.authority.root_pem();
    let same = Contents::new(&service.identity, &roots);
    // The same set for a reader: comments, line ends and text between the blocks.
    let alike = Contents {
        certificate: format!("# renewed?\r\n{}", same.certificate.replace('\n', "\r\n")),
        key: format!("\u{feff}{}", same.key),
        roots: format!("{roots}\ntrailing text\n"),
    };
    for round in 0..1_000 {
        service
            .volume
            .update(if round % 2 == 0 { &alike } else { &same })?;
    }
    throughout(QUIET, "nothing happens", || async {
        let status = service.manager.status();
        ensure!(
            status.last_rejection.is_none(),
            "{:?}",
            status.last_rejection
        );
        Ok(service.generation() == 1 && service.connection.report().connects == 1)
    })
    .await?;
    assert_eq!(service.manager.status().disk.verdict, "active");
    Ok(())
}

#[tokio::test]
async fn publishes_during_an_outage_are_one_connect_afterwards() -> Result<()> {
    let mut service = Service::start_with(|s| s, |m| m.preflight(false), |c| c).await?;
    service.server.stop().await?;
    eventually(PATIENCE, "the outage is noticed", || async {
        Ok((service.connection.report().state.as_str() == "disconnected").then_some(()))
    })
    .await?;
    for generation in 2..=4 {
        service.renew()?;
        eventually(PATIENCE, "published", || async {
            Ok((service.generation() == generation).then_some(()))
        })
        .await?;
    }
    service.server.restart().await?;
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    settled(&service, 4).await?;
    throughout(QUIET, "no late reconnect", || async {
        Ok(service.connection.report().connects == 2)
    })
    .await
}

#[tokio::test]
async fn a_burst_of_renewals_is_coalesced_by_the_spread() -> Result<()> {
    let mut service =
        Service::start_with(|s| s, |m| m.spread(Duration::from_secs(2)), |c| c).await?;
    for _ in 0..5 {
        service.renew()?;
    }
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    throughout(QUIET, "at most two moves", || async {
        // The first of the five may have drawn no delay at all.
        Ok(service.connection.report().connects <= 3)
    })
    .await
}

#[tokio::test]
async fn connections_of_one_process_move_one_after_the_other() -> Result<()> {
    let mut service = Service::start().await?;
    let mut connections = Vec::new();
    for number in 0..6 {
        let settings = ConnectSettings::new().component(format!("connection {number}"));
        connections.push(
            service
                .manager
                .connect(service.server.url(), settings)
                .await?,
        );
    }
    let mut watchers = Vec::new();
    for connection in &connections {
        let mut events = connection.events();
        watchers.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while times.len() < 2 {
                if events.recv().await.is_err() {
                    break;
                }
                times.push(Instant::now());
            }
            times
        }));
    }
    service.renew()?;
    let mut moves = Vec::new();
    for watcher in watchers {
        let times = tokio::time::timeout(PATIENCE, watcher).await??;
        ensure!(times.len() == 2, "a connection ended");
        moves.push((times[0], times[1]));
    }
    moves.sort();
    for pair in moves.windows(2) {
        ensure!(pair[0].1 <= pair[1].0, "two connections were down at once");
    }
    Ok(())
}

#[tokio::test]
async fn a_saturated_connection_moves_within_the_flush_limit() -> Result<()> {
    let mut service =
        Service::start_with(|s| s, |m| m, |c| c.flush_limit(Duration::from_millis(300))).await?;
    let client = service.connection.client().clone();
    let flood = tokio::spawn(async move {
        let payload = bytes::Bytes::from(vec![0_u8; 256 * 1024]);
        while client.publish("flood", payload.clone()).await.is_ok() {}
    });
    service.renew()?;
    let seen = service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await;
    flood.abort();
    seen?;
    Ok(())
}

#[tokio::test]
async fn an_intermediate_alone_is_a_change_too() -> Result<()> {
    let service = Service::start().await?;
    let mut volume = service.volume;
    // The same leaf, followed by the self-signed root: another chain on the wire.
    let mut contents = Contents::new(&service.identity, &service.authority.root_pem());
    contents.certificate.push_str(&service.authority.root_pem());
    volume.update(&contents)?;
    eventually(PATIENCE, "the longer chain is shown", || async {
        let seen = service.server.connection(NAME).await?;
        Ok(seen.filter(|seen| seen.tls_peer_certs.len() == 2))
    })
    .await?;
    assert!(volume.path(Part::Certificate).exists());
    Ok(())
}
