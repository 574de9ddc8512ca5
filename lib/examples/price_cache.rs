//! A cache of a NATS key-value bucket that is coherent again after any outage, also one in which
//! nats-server lost the bucket. Configured by NATS_URL, NATS_TLS_CERT, NATS_TLS_KEY and NATS_TLS_CA.
//!
//! # What the library can do here, and what it cannot
//! `async_nats::Client`, and stores made from it, stay valid over rotations and restarts, and
//! [`reconnect_epoch`](nats_mtls::Connection::reconnect_epoch) tells each time the connection was
//! down, even if every event was lost. It cannot tell what happened on the server meanwhile: a
//! bucket in memory is gone after a restart, a watch of it may be silent for ever, and nobody can
//! bring the values back but those who own them. So a cache throws everything away when it hears of an
//! outage and at each new epoch, and reads it again, and whoever owns values puts them again at each new epoch.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use async_nats::jetstream::kv::{Config, Operation, Store};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use nats_mtls::nats::ConnectionEvent;
use nats_mtls::{CertificateManager, ConnectSettings, Files};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The newest price of everything.
pub type Prices = BTreeMap<String, String>;

/// JetStream may need a moment after the connection is up, a cluster also for its leaders.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Keeps `cache` coherent with the bucket for as long as somebody reads it; it holds nothing while
/// that is not certain: from the moment that an outage is told, until the bucket was read again.
pub async fn keep(
    client: async_nats::Client,
    bucket: Config,
    mut events: broadcast::Receiver<ConnectionEvent>,
    mut epoch: watch::Receiver<u64>,
    cache: watch::Sender<Option<Prices>>,
) {
    let context = jetstream::new(client);
    loop {
        // Looked at before reading: a reconnect during the reading starts it again.
        epoch.borrow_and_update();
        cache.send_replace(None);
        tokio::select! {
            changed = epoch.changed() => {
                if changed.is_err() {
                    return; // The connection was dropped.
                }
            }
            () = lost(&mut events) => {}
            () = cache.closed() => return,
            end = follow(&context, &bucket, &cache) => {
                if let Err(error) = end {
                    tracing::info!(%error, "not coherent; reading the bucket again");
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Resolves when the connection is down, or may have been: what is in the cache may be old by now.
/// Events may be missed, so that alone would not do; the epoch tells of every outage once it is over.
async fn lost(events: &mut broadcast::Receiver<ConnectionEvent>) {
    loop {
        match events.recv().await {
            Ok(ConnectionEvent::Disconnected { .. } | ConnectionEvent::Closed)
            | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // The epoch ends, too.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Reads the whole bucket, then follows its changes until the watch ends.
async fn follow(
    context: &Context,
    bucket: &Config,
    cache: &watch::Sender<Option<Prices>>,
) -> Result<(), Error> {
    // Makes it again if the server lost it, and is content if it is there.
    let store = context.create_key_value(bucket.clone()).await?;
    let mut changes = store.watch_with_history(">").await?;
    let mut prices = Prices::new();
    let mut is_current = is_empty(&store).await?;
    if is_current {
        cache.send_replace(Some(prices.clone()));
    }
    while let Some(entry) = changes.next().await {
        let entry = entry?;
        is_current |= entry.seen_current;
        match entry.operation {
            Operation::Put => {
                let price = String::from_utf8_lossy(&entry.value).into_owned();
                prices.insert(entry.key, price);
            }
            Operation::Delete | Operation::Purge => {
                prices.remove(&entry.key);
            }
        }
        if is_current {
            cache.send_replace(Some(prices.clone()));
        }
    }
    Ok(())
}

/// A watch says nothing about an empty bucket, so that has to be asked.
async fn is_empty(store: &Store) -> Result<bool, Error> {
    Ok(store.keys().await?.next().await.is_none())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let manager = CertificateManager::builder()
        .files(Files::new(
            env::var("NATS_TLS_CERT")?,
            env::var("NATS_TLS_KEY")?,
            env::var("NATS_TLS_CA")?,
        ))
        .build()
        .await?;
    let settings = ConnectSettings::new().component("price-cache");
    let nats = manager.connect(env::var("NATS_URL")?, settings).await?;
    let (cache, mut prices) = watch::channel(None);
    let bucket = Config {
        bucket: "prices".to_owned(),
        storage: jetstream::stream::StorageType::Memory,
        ..Config::default()
    };
    tokio::spawn(keep(
        nats.client().clone(),
        bucket,
        nats.events(),
        nats.reconnect_epoch(),
        cache,
    ));
    while prices.changed().await.is_ok() {
        match &*prices.borrow_and_update() {
            Some(prices) => println!("{}", serde_json::to_string(prices)?),
            None => println!("not coherent"),
        }
    }
    Ok(())
}
