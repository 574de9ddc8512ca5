//! How long a start may take is computed, and logged with its arithmetic: by the library for a service,
//! and by the agent.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::nats::ConnectionError;
use nats_mtls::{ConnectSettings, StartupPolicy};
use nats_mtls_tests::boot::Boot;
use nats_mtls_tests::logs::LogCapture;
use nats_mtls_tests::service::NAME;
use nats_mtls_tests::wait::PATIENCE;

fn line<'a>(log: &'a str, message: &str) -> Result<&'a str> {
    let mut lines = log.lines();
    lines
        .find(|line| line.contains(message))
        .with_context(|| log.to_owned())
}

#[tokio::test]
async fn a_service() -> Result<()> {
    let log = LogCapture::install()?;
    let boot = Boot::new().await?;
    let manager = boot.manager().await?;
    // The default policy, with numbers that are soon over.
    let settings = ConnectSettings::new()
        .component(NAME)
        .connect_timeout(Duration::from_millis(100))
        .startup_margin(Duration::from_millis(150));
    let ended = manager.connect(boot.all(), settings.clone()).await;
    let Err(ConnectionError::NotConnected { waited, .. }) = ended else {
        anyhow::bail!("{ended:?}");
    };
    ensure!(waited >= Duration::from_millis(1050), "{waited:?}");
    let text = log.text();
    let said = line(&text, "connecting component")?;
    for words in [
        "budget_seconds=1.05",
        "100ms x 3 servers x 3 passes + 150ms = 1.05s",
    ] {
        ensure!(said.contains(words), "{words}: {said}");
    }

    // Given, it is not computed.
    let given = StartupPolicy::RetryFor(Duration::from_millis(300));
    let ended = manager.connect(boot.all(), settings.startup(given));
    ensure!(ended.await.is_err());
    let text = log.text();
    let news = text.rsplit_once("budget_seconds=0.3").context("not said")?;
    ensure!(!news.1.contains("computed="), "{}", news.1);
    Ok(())
}

#[tokio::test]
async fn the_agent() -> Result<()> {
    let boot = Boot::new().await?;
    let agent = |startup: &str| {
        boot.agent(&boot.all())
            .flag("--connect-timeout", "10s")
            .flag("--http", "off")
            .flag("--startup", startup)
    };
    let single = agent("fail-fast").run(PATIENCE).await?;
    // What is given is spent, what it would be is said all the same.
    let given = agent("retry").flag("--startup-budget", "300ms");
    let given = given.run(PATIENCE).await?;
    for (ended, budget) in [(single, "budget=105s"), (given, "budget=300ms")] {
        let said = line(&ended.stderr, "starting")?;
        for words in [budget, "10s x 3 servers x 3 passes + 15s = 105s"] {
            ensure!(said.contains(words), "{words}: {said}");
        }
    }
    Ok(())
}
