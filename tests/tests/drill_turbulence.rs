//! `scripts/drill-turbulence`, as a test: while nats-server is restarted again and again and then
//! stays away, the shipped alerts fire in a real Prometheus, and they end when it is over.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::drill::turbulence::{CHURN, LAG, TurbulenceReport};
use nats_mtls_tests::drill::{Outcome, run};

#[tokio::test]
async fn the_shipped_alerts_fire_and_clear() -> Result<()> {
    let arguments = ["turbulence", "--factor", "60", "--json"];
    let finished = run(env!("CARGO_BIN_EXE_drill"), &arguments).await?;
    println!("{}", finished.stderr);
    let outcome: Outcome<TurbulenceReport> = serde_json::from_str(&finished.stdout)?;
    ensure!(finished.code == Some(0) && outcome.passed, "{outcome:?}");
    let report = outcome.report.context("no report")?;
    ensure!(report.fired.contains(CHURN) && report.fired.contains(LAG));
    // 15 minutes of churn are 15 s here, and 5 minutes of an outage 5 s.
    ensure!(report.churn.fired_after_seconds > Some(15.0), "{report:?}");
    // Less the moment between the end of the connection and that of the server.
    ensure!(report.lag.fired_after_seconds > Some(4.5), "{report:?}");
    ensure!(report.churn.cleared_after_seconds.is_some(), "{report:?}");
    ensure!(report.lag.cleared_after_seconds.is_some(), "{report:?}");
    ensure!(report.restarts > 6, "{report:?}");
    Ok(())
}
