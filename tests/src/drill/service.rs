//! A Rust service that links the library, for the startup drill: it connects under the policy it
//! was given and stays connected.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nats_mtls::{CertificateManager, ConnectSettings, Files, StartupPolicy};
use tokio::signal::unix::{SignalKind, signal};

use super::startup::Policy;
use crate::files::{Part, PlainFiles};

/// The name of its connection.
pub const NAME: &str = "rust-service";

const POLICY: &str = "DRILL_STARTUP";

/// The command line of [`run`]: `program` is the binary `drill`.
pub(super) fn command(program: &Path, files: &PlainFiles, server: &str, policy: Policy) -> Command {
    let mut command = Command::new(program);
    command
        .arg("service")
        .env("NATS_URL", server)
        .env("NATS_TLS_CERT", files.path(Part::Certificate))
        .env("NATS_TLS_KEY", files.path(Part::Key))
        .env("NATS_TLS_CA", files.path(Part::Roots))
        .env(POLICY, policy.as_str());
    command
}

/// Runs until SIGTERM.
///
/// # Errors
/// When its policy says so.
pub async fn run() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut builder = CertificateManager::builder();
    let mut settings = ConnectSettings::new().component(NAME);
    // Without a policy the library retries until the budget that it computes is spent.
    let policy = match env::var(POLICY)?.as_str() {
        "fail-fast" => Some(StartupPolicy::FailFast),
        "forever" => Some(StartupPolicy::RetryForever),
        _ => None,
    };
    if let Some(policy) = policy {
        builder = builder.startup(policy);
        settings = settings.startup(policy);
    }
    let path = |name: &str| env::var_os(name).with_context(|| format!("{name} is not set"));
    let manager = builder
        .files(Files::new(
            path("NATS_TLS_CERT")?,
            path("NATS_TLS_KEY")?,
            path("NATS_TLS_CA")?,
        ))
        .build()
        .await?;
    let nats = manager.connect(env::var("NATS_URL")?, settings).await?;
    signal(SignalKind::terminate())?.recv().await;
    nats.drain(Duration::from_secs(2)).await;
    Ok(())
}
