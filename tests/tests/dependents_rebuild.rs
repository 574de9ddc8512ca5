//! What depends on a connection is right again after each outage: the examples `price_cache` and
//! `audit_publisher`, run as they are against a server that is restarted under them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, kv, stream};
use nats_mtls::nats::ConnectionEvent;
use nats_mtls_tests::server::ServerSettings;
use nats_mtls_tests::service::Service;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use tokio::sync::watch;

#[allow(dead_code, reason = "only its main is not used here")]
#[path = "../../lib/examples/audit_publisher.rs"]
mod audit_publisher;
#[allow(dead_code, reason = "only its main is not used here")]
#[path = "../../lib/examples/price_cache.rs"]
mod price_cache;

use audit_publisher::AuditPublisher;
use price_cache::Prices;

async fn service() -> Result<Service> {
    Service::start_with(ServerSettings::jet_stream, |m| m, |c| c).await
}

fn bucket(storage: stream::StorageType) -> kv::Config {
    kv::Config {
        bucket: "prices".to_owned(),
        storage,
        ..kv::Config::default()
    }
}

fn cache_of(service: &Service, bucket: kv::Config) -> watch::Receiver<Option<Prices>> {
    let (cache, prices) = watch::channel(None);
    tokio::spawn(price_cache::keep(
        service.connection.client().clone(),
        bucket,
        service.connection.events(),
        service.connection.reconnect_epoch(),
        cache,
    ));
    prices
}

async fn holds(prices: &watch::Receiver<Option<Prices>>, expected: &[(&str, &str)]) -> Result<()> {
    let expected: Prices = expected
        .iter()
        .map(|(name, price)| ((*name).to_owned(), (*price).to_owned()))
        .collect();
    let expected = Some(expected);
    let what = format!("the cache holds {expected:?}");
    eventually(PATIENCE, &what, || async {
        Ok((*prices.borrow() == expected).then_some(()))
    })
    .await
}

async fn put(service: &Service, name: &str, price: &str) -> Result<()> {
    let context = jetstream::new(service.connection.client().clone());
    let store = context.get_key_value("prices").await?;
    store.put(name, price.to_owned().into()).await?;
    Ok(())
}

#[tokio::test]
async fn a_cache_is_coherent_again_after_the_server_lost_its_memory() -> Result<()> {
    let mut service = service().await?;
    let prices = cache_of(&service, bucket(stream::StorageType::Memory));
    holds(&prices, &[]).await?;
    put(&service, "apple", "1").await?;
    put(&service, "pear", "2").await?;
    holds(&prices, &[("apple", "1"), ("pear", "2")]).await?;

    for round in ["3", "4"] {
        service.server.restart().await?;
        // The bucket is gone with its server: old prices are not shown for current ones.
        holds(&prices, &[]).await?;
        put(&service, "apple", round).await?;
        holds(&prices, &[("apple", round)]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cache_of_a_bucket_on_disk_has_everything_again() -> Result<()> {
    let mut service = service().await?;
    let mut events = service.connection.events();
    let mut prices = cache_of(&service, bucket(stream::StorageType::File));
    holds(&prices, &[]).await?;
    put(&service, "apple", "1").await?;
    put(&service, "pear", "2").await?;
    holds(&prices, &[("apple", "1"), ("pear", "2")]).await?;
    service.server.kill();
    // Nobody knows what prices are now, so there are none: from the moment that the outage is told.
    let down = events.recv().await?;
    ensure!(
        matches!(down, ConnectionEvent::Disconnected { .. }),
        "{down:?}"
    );
    tokio::time::timeout(PATIENCE, prices.wait_for(Option::is_none)).await??;
    throughout(Duration::from_millis(500), "nothing is shown", || async {
        Ok(prices.borrow().is_none())
    })
    .await?;
    service.server.restart().await?;
    holds(&prices, &[("apple", "1"), ("pear", "2")]).await?;
    // And it follows again: a change and a removal arrive.
    put(&service, "apple", "3").await?;
    let context = jetstream::new(service.connection.client().clone());
    context
        .get_key_value("prices")
        .await?
        .delete("pear")
        .await?;
    holds(&prices, &[("apple", "3")]).await
}

#[tokio::test]
async fn a_rotation_disturbs_a_cache_for_a_moment_only() -> Result<()> {
    let mut service = service().await?;
    let prices = cache_of(&service, bucket(stream::StorageType::Memory));
    holds(&prices, &[]).await?;
    put(&service, "apple", "1").await?;
    holds(&prices, &[("apple", "1")]).await?;
    service.renew()?;
    let leaf = service.identity.fingerprint().to_owned();
    service
        .server
        .sees(nats_mtls_tests::service::NAME, &leaf, PATIENCE)
        .await?;
    holds(&prices, &[("apple", "1")]).await?;
    put(&service, "pear", "2").await?;
    holds(&prices, &[("apple", "1"), ("pear", "2")]).await
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_over_restarts_and_rotations() -> Result<()> {
    let mut service = service().await?;
    let config = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["audit.>".to_owned()],
        storage: stream::StorageType::File,
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    };
    let client = service.connection.client().clone();
    let publisher = AuditPublisher::new(client.clone(), config, "audit.logins");
    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0_u64);
    let publishing = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        while !*stopped.borrow() {
            let id = acknowledged.len().to_string();
            acknowledged.push((publisher.publish(&id, &id).await, id));
            count.send_modify(|count| *count += 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        acknowledged
    });
    for disturbance in 0..6 {
        let before = *counted.borrow();
        tokio::time::timeout(PATIENCE, counted.wait_for(|count| *count > before + 20)).await??;
        match disturbance % 3 {
            0 => service.server.restart().await?,
            1 => {
                service.server.kill();
                service.server.restart().await?;
            }
            _ => service.renew()?,
        }
    }
    let before = *counted.borrow();
    tokio::time::timeout(PATIENCE, counted.wait_for(|count| *count > before + 20)).await??;
    stop.send_replace(true);
    let acknowledged = tokio::time::timeout(PATIENCE, publishing).await??;

    let context = jetstream::new(client);
    let stream = context.get_stream("AUDIT").await?;
    let mut stored = BTreeSet::new();
    for (receipt, id) in &acknowledged {
        let message = stream.get_raw_message(receipt.sequence).await;
        let message = message.with_context(|| format!("record {id} is lost"))?;
        ensure!(message.payload == *id.as_bytes(), "record {id} differs");
        stored.insert(receipt.sequence);
    }
    assert_eq!(stored.len(), acknowledged.len(), "stored apart");
    let messages = stream.cached_info().state.messages;
    assert_eq!(messages, u64::try_from(acknowledged.len())?, "stored once");
    Ok(())
}

/// What the example documents as its limit: the records are gone, publishing goes on.
#[tokio::test]
async fn a_stream_that_the_server_lost_is_made_again_without_what_was_in_it() -> Result<()> {
    let mut service = service().await?;
    let config = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["audit.>".to_owned()],
        storage: stream::StorageType::Memory,
        ..stream::Config::default()
    };
    let client = service.connection.client().clone();
    let publisher = AuditPublisher::new(client.clone(), config, "audit.logins");
    for number in 1..=3 {
        let receipt = publisher
            .publish(&format!("before-{number}"), "kept in memory")
            .await;
        assert_eq!(receipt.sequence, number);
    }
    service.server.restart().await?;
    let publishing = publisher.publish("after", "kept in memory");
    let receipt = tokio::time::timeout(PATIENCE, publishing).await?;
    ensure!(receipt.sequence == 1 && receipt.attempts > 1, "{receipt:?}");
    let stream = jetstream::new(client).get_stream("AUDIT").await?;
    assert_eq!(stream.cached_info().state.messages, 1);
    Ok(())
}
