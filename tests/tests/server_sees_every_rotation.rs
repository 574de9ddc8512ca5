//! Promise 1: after a rotation nats-server's own `/connz?auth=1` shows the new certificate for
//! every managed connection, on TLS 1.3 and 1.2, and everything made from the client still works.
//!
//! The naive pattern fails this: see `naive_rotation_is_not_seen`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, consumer, kv, stream};
use futures_util::StreamExt as _;
use nats_mtls::{ConnectSettings, TlsVersions};
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::time::timeout;

const ROTATIONS: u64 = 20;

#[tokio::test]
async fn on_tls_13_and_12() -> Result<()> {
    for (versions, shown) in [
        (TlsVersions::Tls13Only, "1.3"),
        (TlsVersions::Tls12Only, "1.2"),
    ] {
        let mut service = Service::start_with(|s| s, |m| m.tls_versions(versions), |c| c).await?;
        let first = service
            .server
            .sees(NAME, service.identity.fingerprint(), PATIENCE)
            .await?;
        assert_eq!(first.tls_version, shown);
        for rotation in 1..=5 {
            service.renew()?;
            let seen = service
                .server
                .sees(NAME, service.identity.fingerprint(), PATIENCE)
                .await?;
            assert_eq!(seen.tls_version, shown);
            assert_eq!(service.generation(), 1 + rotation);
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_connection_of_a_manager() -> Result<()> {
    let mut service = Service::start().await?;
    let names = ["billing", "audit", "stock"];
    let mut others = Vec::new();
    for name in names {
        let settings = ConnectSettings::new().component(name);
        others.push(
            service
                .manager
                .connect(service.server.url(), settings)
                .await?,
        );
    }
    service.renew()?;
    for name in names.into_iter().chain([NAME]) {
        service
            .server
            .sees(name, service.identity.fingerprint(), PATIENCE)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn with_tls_before_info() -> Result<()> {
    use nats_mtls_tests::server::HandshakeFirst;
    let mut service = Service::start_with(
        |server| server.handshake_first(HandshakeFirst::Always),
        |manager| manager,
        |settings| settings.tls_first(true),
    )
    .await?;
    service.renew()?;
    service
        .server
        .sees(NAME, service.identity.fingerprint(), PATIENCE)
        .await?;
    Ok(())
}

/// Waits at most [`PATIENCE`] for the next message.
async fn next<S: futures_util::Stream + Unpin>(stream: &mut S, what: &str) -> Result<S::Item> {
    timeout(PATIENCE, stream.next())
        .await
        .with_context(|| format!("{what}: nothing came"))?
        .with_context(|| format!("{what}: ended"))
}

#[tokio::test]
async fn after_twenty_rotations_everything_made_from_the_client_still_works() -> Result<()> {
    let mut service = Service::start_with(|server| server.jet_stream(), |m| m, |c| c).await?;
    let client = service.connection.client().clone();

    let mut plain = client.subscribe("plain.*").await?;
    let mut limited = client.subscribe("limited").await?;
    limited.unsubscribe_after(ROTATIONS + 1).await?;
    let mut questions = client
        .queue_subscribe("question", "answerers".into())
        .await?;
    let answering = client.clone();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(reply) = question.reply {
                answering.publish(reply, question.payload).await.ok();
            }
        }
    });

    let context = jetstream::new(client.clone());
    let orders = context
        .create_stream(stream::Config {
            name: "ORDERS".into(),
            subjects: vec!["orders.>".into()],
            storage: stream::StorageType::File,
            ..Default::default()
        })
        .await?;
    let mut pulled = orders
        .create_consumer(consumer::pull::Config {
            durable_name: Some("pull".into()),
            ..Default::default()
        })
        .await?
        .messages()
        .await?;
    let mut ordered = orders
        .create_consumer(consumer::push::OrderedConfig {
            deliver_subject: client.new_inbox(),
            ..Default::default()
        })
        .await?
        .messages()
        .await?;
    let bucket = context
        .create_key_value(kv::Config {
            bucket: "prices".into(),
            history: 64,
            storage: stream::StorageType::File,
            ..Default::default()
        })
        .await?;
    let mut watched = bucket.watch_all().await?;
    let mut unpolled = bucket.watch_all().await?;

    for rotation in 0..ROTATIONS {
        service.renew()?;
        service
            .server
            .sees(NAME, service.identity.fingerprint(), PATIENCE)
            .await?;
        // The server shows the connection a moment before the client has resubscribed.
        eventually(PATIENCE, "the client is back", || async {
            let state = client.connection_state();
            Ok((state == async_nats::connection::State::Connected).then_some(()))
        })
        .await?;

        let text = format!("{rotation}");
        client.publish("plain.new", text.clone().into()).await?;
        assert_eq!(
            next(&mut plain, "subscription").await?.payload,
            text.as_bytes()
        );
        client.publish("limited", text.clone().into()).await?;
        assert_eq!(
            next(&mut limited, "limited").await?.payload,
            text.as_bytes()
        );
        let answer = client.request("question", text.clone().into()).await?;
        assert_eq!(answer.payload, text.as_bytes());

        context
            .publish("orders.new", text.clone().into())
            .await?
            .await?;
        let message = next(&mut pulled, "pull consumer").await??;
        assert_eq!(message.payload, text.as_bytes());
        message
            .ack()
            .await
            .map_err(|error| anyhow::anyhow!(error))?;
        assert_eq!(
            next(&mut ordered, "ordered consumer").await??.payload,
            text.as_bytes()
        );

        let revision = bucket.put("apple", text.clone().into()).await?;
        let entry = next(&mut watched, "watch").await??;
        assert_eq!((entry.revision, &*entry.value), (revision, text.as_bytes()));
    }
    for rotation in 0..ROTATIONS {
        let entry = next(&mut unpolled, "watch that was not polled meanwhile").await??;
        assert_eq!(&*entry.value, format!("{rotation}").as_bytes());
    }
    client.publish("limited", "last".into()).await?;
    next(&mut limited, "limited").await?;
    let end = timeout(Duration::from_secs(5), limited.next()).await?;
    ensure!(
        end.is_none(),
        "auto-unsubscribe forgot how many came before the rotations"
    );

    let report = service.connection.report();
    assert_eq!(
        report.connects,
        1 + ROTATIONS,
        "one rotation is one reconnect"
    );
    assert_eq!(service.generation(), 1 + ROTATIONS);
    Ok(())
}
