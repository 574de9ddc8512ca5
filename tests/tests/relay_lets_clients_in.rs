//! The relay's door: unmodified clients in plain text reach a server that demands mutual TLS, under
//! this process's certificate; who must not, does not, and is told why.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use nats_mtls::relay::{RelayReport, SessionResult};
use nats_mtls::{Relay, RelaySettings};
use nats_mtls_tests::service::Service;
use nats_mtls_tests::wait::{PATIENCE, eventually};

/// A free port on loopback.
fn settings() -> RelaySettings {
    RelaySettings::new().listen(([127, 0, 0, 1], 0).into())
}

fn url(relay: &Relay) -> String {
    format!("nats://{}", relay.local_addr())
}

async fn reports(relay: &Relay, what: &str, holds: impl Fn(&RelayReport) -> bool) -> Result<()> {
    eventually(PATIENCE, what, || async {
        let report = relay.report();
        ensure!(holds(&report), "{report:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_client_in_plain_text_speaks_under_our_certificate() -> Result<()> {
    let service = Service::start().await?;
    let relay = service
        .manager
        .relay(service.server.url(), settings())
        .await?;
    let options = async_nats::ConnectOptions::new().name("legacy");
    let client = options.connect(url(&relay)).await?;
    let mut messages = client.subscribe("greetings").await?;
    client.publish("greetings", "hello".into()).await?;
    let message = tokio::time::timeout(PATIENCE, messages.next()).await?;
    ensure!(message.context("no message")?.payload == "hello");

    let seen = service.server.connection("legacy").await?;
    let seen = seen.context("the server does not know it")?;
    ensure!(
        seen.fingerprint() == Some(service.identity.fingerprint()),
        "{seen:?}"
    );
    reports(&relay, "counted", |report| {
        report.sessions == 1
            && report.results_of(SessionResult::Accepted) == 1
            && (report.upstream.messages, report.downstream.messages) == (1, 1)
    })
    .await?;
    drop((client, messages));
    reports(&relay, "gone", |report| report.sessions == 0).await?;
    ensure!(tokio::time::timeout(Duration::from_secs(5), relay.drain()).await?);
    Ok(())
}
