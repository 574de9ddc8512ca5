//! NATS is down at boot, under each startup policy, for a service and for the agent: how often each
//! server is tried, how long, what is said when it is given up, and what is there once NATS comes. What
//! the agent's probes answer meanwhile is in `probes_follow_the_start.rs`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nats_mtls::nats::{ConnectionError, ConnectionState, FailureKind, ServerAttempts};
use nats_mtls::report::{Liveness, NotReady};
use nats_mtls::{ConnectSettings, Connection, StartupPolicy};
use nats_mtls_tests::boot::Boot;
use nats_mtls_tests::fatal::FatalServer;
use nats_mtls_tests::metrics::{Metrics, Scrape};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::NAME;
use nats_mtls_tests::wait::{PATIENCE, eventually};

const ALL: &[(&str, &str)] = &[("component", NAME)];

fn settings(policy: StartupPolicy) -> ConnectSettings {
    ConnectSettings::new().component(NAME).startup(policy)
}

/// What became of each server, in the order they were given.
fn attempts(
    result: Result<Connection, ConnectionError>,
) -> Result<(Duration, Vec<ServerAttempts>)> {
    match result {
        Err(ConnectionError::NotConnected { waited, attempts }) => Ok((waited, attempts)),
        Err(other) => bail!("{other}"),
        Ok(_) => bail!("connected"),
    }
}

fn failed(scrape: &Scrape, result: &str) -> Result<u64> {
    let labels = [("component", NAME), ("result", result)];
    scrape.count("nats_mtls_connect_attempts_total", &labels)
}

/// The truth about each kind of server.
fn is_true_cause(attempt: &ServerAttempts, kind: FailureKind, words: &str) -> Result<()> {
    let failure = attempt.last_failure.as_ref().context("no cause")?;
    ensure!(
        failure.kind == kind && failure.detail.contains(words),
        "{attempt:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_service_that_fails_fast_tries_each_server_once() -> Result<()> {
    let metrics = Metrics::install()?;
    let boot = Boot::new().await?;
    let manager = boot.manager().await?;
    let connecting = manager.connect(boot.all(), settings(StartupPolicy::FailFast));
    let result = connecting.await;
    let text = result.as_ref().map(|_| ()).unwrap_err().to_string();
    let (_, attempts) = attempts(result)?;
    let [doorman, stranger, down] = &attempts[..] else {
        bail!("{attempts:?}");
    };
    for attempt in &attempts {
        assert_eq!(attempt.attempts, 1, "{attempt:?}");
        ensure!(
            text.contains(&format!("{} (1 attempt): ", attempt.server)),
            "{text}"
        );
    }
    assert_eq!(doorman.server, boot.doorman.label());
    is_true_cause(doorman, FailureKind::Unavailable, "")?;
    is_true_cause(
        stranger,
        FailureKind::CertificateRefused,
        "refused the client certificate",
    )?;
    is_true_cause(down, FailureKind::Unavailable, "onnection refused")?;
    assert_eq!(boot.doorman.visits(), 1);

    let status = manager.status_handle();
    let scrape = metrics.scrape(&status);
    assert_eq!(
        (failed(&scrape, "network")?, failed(&scrape, "tls")?),
        (2, 1)
    );
    assert_eq!(scrape.count("nats_mtls_connect_total", ALL)?, 0);
    // Nobody ended it on purpose: NatsMtlsNeverConnected looks for a 0.
    assert_eq!(scrape.count("nats_mtls_connection_up", ALL)?, 0);
    ensure!(
        scrape
            .sum("nats_mtls_first_connection_seconds", ALL)
            .is_err()
    );
    // Nothing is left behind, and the name is free.
    ensure!(status.status().connections.is_empty());
    let mut down = boot.down;
    down.restart().await?;
    let again = manager.connect(down.url(), settings(StartupPolicy::FailFast));
    ensure!(again.await?.report().state == ConnectionState::Connected);
    Ok(())
}

#[tokio::test]
async fn a_service_that_retries_gives_up_when_its_budget_is_spent_and_lists_what_it_did()
-> Result<()> {
    const BUDGET: Duration = Duration::from_millis(1500);
    let metrics = Metrics::install()?;
    let boot = Boot::new().await?;
    let manager = boot.manager().await?;
    let connecting = manager.connect(boot.all(), settings(StartupPolicy::RetryFor(BUDGET)));
    let (waited, attempts) = attempts(connecting.await)?;
    ensure!(waited >= BUDGET && waited < 2 * BUDGET, "{waited:?}");
    let [doorman, stranger, down] = &attempts[..] else {
        bail!("{attempts:?}");
    };
    // In passes: nobody is tried more than once more than the others.
    ensure!(
        attempts.iter().all(|attempt| attempt.attempts > 1),
        "{attempts:?}"
    );
    ensure!(
        doorman.attempts.abs_diff(down.attempts) <= 1,
        "{attempts:?}"
    );
    ensure!(
        doorman.attempts.abs_diff(stranger.attempts) <= 1,
        "{attempts:?}"
    );
    assert_eq!(u64::from(doorman.attempts), boot.doorman.visits());
    is_true_cause(
        stranger,
        FailureKind::CertificateRefused,
        "refused the client certificate",
    )?;
    is_true_cause(down, FailureKind::Unavailable, "onnection refused")?;
    // The budget may end in the middle of an attempt; every other one is counted, by its cause.
    let scrape = metrics.scrape(&manager.status_handle());
    let (network, tls) = (failed(&scrape, "network")?, failed(&scrape, "tls")?);
    let tried: u64 = attempts
        .iter()
        .map(|attempt| u64::from(attempt.attempts))
        .sum();
    ensure!(tried - (network + tls) <= 1, "{tried}, {network} + {tls}");
    ensure!(
        u64::from(stranger.attempts) - tls <= 1,
        "{attempts:?}, {tls}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_nothing_is_an_attempt_without_an_end() -> Result<()> {
    let boot = Boot::new().await?;
    let silent = NatsServer::start(ServerSettings::new(&boot.authority)).await?;
    silent.freeze().await?;
    let manager = boot.manager().await?;
    let policy = StartupPolicy::RetryFor(Duration::from_millis(300));
    let (_, attempts) = attempts(manager.connect(silent.url(), settings(policy)).await)?;
    let [attempt] = &attempts[..] else {
        bail!("{attempts:?}");
    };
    assert_eq!((attempt.attempts, &attempt.last_failure), (1, &None));
    ensure!(
        attempt
            .to_string()
            .ends_with("(1 attempt): no answer in time"),
        "{attempt}"
    );
    silent.thaw()
}

/// The servers are two, so that the client is asked to widen its pool while it has nobody.
#[tokio::test]
async fn a_server_that_welcomes_and_is_gone_does_not_hold_up_the_budget() -> Result<()> {
    let boot = Boot::new().await?;
    let manager = boot.manager().await?;
    let policies = [
        StartupPolicy::RetryFor(Duration::from_secs(4)),
        StartupPolicy::FailFast,
    ];
    for policy in policies {
        let fleeting = FatalServer::fleeting(&boot.authority).await?;
        let servers = [fleeting, boot.down.url()].join(",");
        let settings = settings(policy)
            .tls_first(true)
            .connect_timeout(Duration::from_secs(2));
        let connecting = manager.connect(servers, settings);
        let result = tokio::time::timeout(PATIENCE, connecting).await;
        let (_, attempts) = attempts(result.context("it waits without limit")?)?;
        let words = "accepted the connection and was gone";
        ensure!(
            attempts
                .iter()
                .any(|attempt| is_true_cause(attempt, FailureKind::Unavailable, words).is_ok()),
            "{attempts:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_never_gives_up_outlives_every_budget_and_is_there_when_nats_comes()
-> Result<()> {
    let metrics = Metrics::install()?;
    let mut boot = Boot::new().await?;
    let manager = boot.manager().await?;
    let status = manager.status_handle();
    let began = Instant::now();
    let servers = [boot.doorman.url(), boot.down.url()].join(",");
    let connecting = tokio::spawn({
        let manager = manager.clone();
        // A budget of 400 ms, if there were one.
        let settings = settings(StartupPolicy::RetryForever)
            .connect_timeout(Duration::from_millis(200))
            .startup_passes(1)
            .startup_margin(Duration::ZERO);
        async move { manager.connect(servers, settings).await }
    });
    eventually(PATIENCE, "tried again and again", || async {
        let health = status.health();
        ensure!(
            health.liveness == Liveness::Alive && !health.started,
            "{health:?}"
        );
        let tried_long_enough = began.elapsed() > Duration::from_secs(1);
        if boot.doorman.visits() > 2 && tried_long_enough {
            ensure!(health.not_ready == Some(NotReady::Connecting), "{health:?}");
            return Ok(Some(()));
        }
        Ok(None)
    })
    .await?;
    let scrape = metrics.scrape(&status);
    // Each pass tries both.
    let network = failed(&scrape, "network")?;
    ensure!(
        network.abs_diff(2 * boot.doorman.visits()) <= 2,
        "{network}"
    );
    assert_eq!(scrape.count("nats_mtls_connection_up", ALL)?, 0);

    let away = began.elapsed();
    boot.down.restart().await?;
    let connection = tokio::time::timeout(PATIENCE, connecting).await???;
    let took = began.elapsed();
    let totals = connection.report().totals;
    assert_eq!(totals.connects, 1);
    let first = totals.first_connection.context("connected")?;
    ensure!(
        first >= away && first <= took,
        "{first:?}, {away:?} to {took:?}"
    );
    let health = status.health();
    ensure!(health.started && health.not_ready.is_none(), "{health:?}");
    let scrape = metrics.scrape(&status);
    assert_eq!(failed(&scrape, "ok")?, 1);
    assert_eq!(failed(&scrape, "network")?, totals.failed_attempts.network);
    let seconds = scrape.sum("nats_mtls_first_connection_seconds", ALL)?;
    ensure!(
        (seconds - first.as_secs_f64()).abs() < 1e-6,
        "{seconds}, {first:?}"
    );
    assert_eq!(scrape.count("nats_mtls_connection_up", ALL)?, 1);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_fails_fast_tries_once_and_names_every_server() -> Result<()> {
    let boot = Boot::new().await?;
    let agent = boot.agent(&boot.all()).flag("--http", "off");
    let ended = agent.flag("--startup", "fail-fast").run(PATIENCE).await?;
    // One of them did answer.
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.stderr.lines().last().context("silent")?;
    for words in [
        &format!("{} (1 attempt): ", boot.doorman.label()),
        "(1 attempt): the server refused the client certificate",
        "onnection refused",
    ] {
        ensure!(last.contains(words), "{words}: {last}");
    }
    assert_eq!(boot.doorman.visits(), 1);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_retries_ends_with_its_budget_and_tells_what_came_to_the_server() -> Result<()>
{
    let boot = Boot::new().await?;
    let agent = boot.agent(&boot.doorman.url()).flag("--http", "off");
    let agent = agent.flag("--startup", "retry");
    let began = Instant::now();
    let ended = agent
        .flag("--startup-budget", "1500ms")
        .run(PATIENCE)
        .await?;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    ensure!(began.elapsed() >= Duration::from_millis(1500));
    let last = ended.stderr.lines().last().context("silent")?;
    let visits = boot.doorman.visits();
    ensure!(visits > 1);
    let listed = format!("{} ({visits} attempts): ", boot.doorman.label());
    ensure!(last.contains(&listed), "{listed}: {last}");
    Ok(())
}
