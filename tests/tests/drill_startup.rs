//! `scripts/drill-startup`, as a test: services that start before NATS recover by themselves, and
//! the drill would notice if they did not.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::Finished;
use nats_mtls_tests::drill::startup::StartupReport;
use nats_mtls_tests::drill::{Outcome, run};

async fn drill(arguments: &[&str]) -> Result<Finished> {
    run(
        env!("CARGO_BIN_EXE_drill"),
        &[&["startup"], arguments].concat(),
    )
    .await
}

#[tokio::test]
async fn whoever_starts_before_nats_recovers_without_a_restart() -> Result<()> {
    let finished = drill(&["--outage", "3s", "--json"]).await?;
    println!("{}", finished.stderr);
    let outcome: Outcome<StartupReport> = serde_json::from_str(&finished.stdout)?;
    ensure!(finished.code == Some(0) && outcome.passed, "{outcome:?}");
    let report = outcome.report.context("no report")?;
    let services = &report.services;
    for service in [&services.agent, &services.rust, &services.wait] {
        let after = service.recovered_after_seconds.context("recovered")?;
        // The longest pause between two passes is 5 s.
        ensure!(service.restarts == 0 && after < 15.0, "{service:?}");
    }
    ensure!(report.probes.livez == [200].into(), "{report:?}");
    ensure!(report.probes.startupz_away == [503].into(), "{report:?}");
    ensure!(
        report.probes.startupz_recovered == [200].into(),
        "{report:?}"
    );
    ensure!(report.probes.looks > 10, "{report:?}");
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_is_a_failed_drill() -> Result<()> {
    let finished = drill(&["--outage", "1s", "--startup", "fail-fast"]).await?;
    let verdict = finished.stdout.lines().last().unwrap_or_default();
    ensure!(finished.code == Some(1), "{finished:?}");
    ensure!(
        verdict.starts_with("FAIL: the agent was restarted ")
            && verdict.contains("; the Rust service was restarted "),
        "{verdict}"
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_argument_is_wrong_usage() -> Result<()> {
    for arguments in [["--outage", "soon"], ["--startup", "later"]] {
        let finished = drill(&arguments).await?;
        ensure!(finished.code == Some(2), "{arguments:?}: {finished:?}");
        ensure!(finished.stdout.is_empty(), "{arguments:?}: {finished:?}");
    }
    Ok(())
}
