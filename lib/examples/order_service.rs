//! A small service that keeps publishing, subscribing, requesting and answering while its
//! certificate is renewed under it. Configured by NATS_URL, NATS_TLS_CERT, NATS_TLS_KEY and
//! NATS_TLS_CA; `scripts/demo` runs it.
//!
//! Prints one line of JSON for each change of its status, and at the end what it did.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use nats_mtls::{CertificateManager, ConnectSettings, Files};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Counters {
    published: AtomicU64,
    received: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            env::var("LOG").unwrap_or_else(|_| "info,async_nats=warn,notify=error".into()),
        )
        .init();

    // The two lines that make the difference: a manager, and a connection from it.
    let manager = CertificateManager::builder()
        .files(Files::new(
            env::var("NATS_TLS_CERT")?,
            env::var("NATS_TLS_KEY")?,
            env::var("NATS_TLS_CA")?,
        ))
        .settle(Duration::from_secs(1)) // A short demo: production keeps the default of 10 s.
        .spread(Duration::ZERO)
        .build()
        .await?;
    let nats = manager
        .connect(
            env::var("NATS_URL")?,
            ConnectSettings::new().component("orders"),
        )
        .await?;

    // From here on it is a plain service on a plain async_nats::Client.
    let counters = Arc::new(Counters::default());
    tokio::spawn(count_events(
        nats.client().subscribe("orders.new").await?,
        Arc::clone(&counters),
    ));
    tokio::spawn(answer(
        nats.client().clone(),
        nats.client().subscribe("orders.price").await?,
    ));
    tokio::spawn(publish(nats.client().clone(), Arc::clone(&counters)));
    tokio::spawn(ask(nats.client().clone(), Arc::clone(&counters)));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut shown = String::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
        let status = serde_json::to_string(&manager.status())?;
        if status != shown {
            println!("{status}");
            shown = status;
        }
    }
    println!(
        "{}",
        json!({
            "published": counters.published.load(Ordering::Relaxed),
            "received": counters.received.load(Ordering::Relaxed),
            "answered": counters.answered.load(Ordering::Relaxed),
            "unanswered": counters.unanswered.load(Ordering::Relaxed),
        })
    );
    nats.drain(Duration::from_secs(2)).await;
    Ok(())
}

async fn publish(client: async_nats::Client, counters: Arc<Counters>) {
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    loop {
        pace.tick().await;
        if client
            .publish("orders.new", "an order".into())
            .await
            .is_ok()
        {
            counters.published.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn count_events(mut events: async_nats::Subscriber, counters: Arc<Counters>) {
    while events.next().await.is_some() {
        counters.received.fetch_add(1, Ordering::Relaxed);
    }
}

async fn answer(client: async_nats::Client, mut questions: async_nats::Subscriber) {
    while let Some(question) = questions.next().await {
        if let Some(reply) = question.reply {
            client.publish(reply, "42".into()).await.ok();
        }
    }
}

async fn ask(client: async_nats::Client, counters: Arc<Counters>) {
    loop {
        let answer = client.request("orders.price", "how much?".into()).await;
        let counter = if answer.is_ok() {
            &counters.answered
        } else {
            &counters.unanswered
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
