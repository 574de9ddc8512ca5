//! `scripts/drill-rotation`, the same code: a fleet on a 3-node cluster gets new leaves and a new
//! CA in waves; where one instance cannot follow, the drill halts, names it, and the old root stays.

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::drill::rotation::{self, NODES, RotationReport, Sabotage, Settings, Verdict};
use nats_mtls_tests::drill::{Narrator, Outcome, Report as _, run};

const LEAVES: &str = "CA: leaves of the new CA";

async fn drill(sabotage: Option<Sabotage>) -> Result<RotationReport> {
    let settings = Settings {
        sabotage,
        ..Settings::default()
    };
    rotation::run(&settings, Narrator::new(true)).await
}

#[tokio::test]
async fn leaf_and_ca_of_a_fleet_rotate_in_waves_and_the_old_root_goes_last() -> Result<()> {
    let report = drill(None).await?;
    ensure!(report.verdict == Verdict::Passed, "{:?}", report.problems());
    let plan = &report.plan;
    ensure!(plan.waves == 3, "6 instances, 2 at once: {plan:?}");
    ensure!(plan.wave_window_seconds == 2.0 * plan.cycle_seconds);
    for stage in &report.stages {
        ensure!(stage.waves.len() == stage.steps, "{stage:?}");
        if stage.side == "clients" {
            ensure!(stage.steps == plan.waves as usize, "{stage:?}");
            ensure!(
                stage.waves.iter().all(|wave| wave.members.len() == 2),
                "{stage:?}"
            );
        }
    }
    ensure!(
        report.slowest() <= 8_000,
        "a wave may take as long as plan says"
    );
    let (leaves, gate) = (
        position(&report, LEAVES)?,
        position(&report, "no connection")?,
    );
    for removal in [
        "clients trust the new root alone",
        "nodes trust the new root alone",
    ] {
        let removal = position(&report, removal)?;
        ensure!(leaves < gate && gate < removal, "{:?}", report.stages);
    }
    Ok(())
}

#[tokio::test]
async fn a_wave_with_broken_files_halts_the_drill() -> Result<()> {
    halts_at_agent_4(Sabotage::BrokenFiles, "key_mismatch", 0).await
}

#[tokio::test]
async fn a_wave_with_a_leaf_of_an_unknown_ca_halts_the_drill() -> Result<()> {
    halts_at_agent_4(Sabotage::ForeignCa, "server_refused", 0).await
}

#[tokio::test]
async fn a_wave_with_a_frozen_agent_halts_the_drill() -> Result<()> {
    halts_at_agent_4(Sabotage::Frozen, "it does not answer", 1).await
}

/// Halted in the second wave; the third was not begun; nobody is offline; the old root is there.
async fn halts_at_agent_4(sabotage: Sabotage, why: &str, silent: usize) -> Result<()> {
    let report = drill(Some(sabotage)).await?;
    ensure!(report.verdict == Verdict::Halted, "{:?}", report.problems());
    let halted = report.halted.as_ref().context("halted")?;
    ensure!(
        (halted.stage.as_str(), halted.wave, halted.of) == (LEAVES, 2, 3),
        "{halted:?}"
    );
    let [laggard] = halted.laggards.as_slice() else {
        anyhow::bail!("{halted:?}");
    };
    ensure!(laggard.instance == "agent-4", "{laggard}");
    ensure!(laggard.why.contains(why), "{laggard}");

    let last = report.stages.last().context("a stage")?;
    ensure!(last.name == LEAVES && last.waves.len() == 1, "{last:?}");
    for member in &report.fleet {
        ensure!(member.node.is_some(), "{member:?} is offline");
        let is_due = member.wave == 1 || member.name == "service-3";
        ensure!(member.is_of_new_ca == is_due, "{member:?}");
    }
    let old_root = &report.old_root;
    ensure!(old_root.trusted_by_nodes == NODES, "{old_root:?}");
    ensure!(old_root.silent_instances == silent, "{old_root:?}");
    ensure!(
        old_root.trusted_by_instances + silent == report.fleet.len(),
        "{old_root:?}"
    );
    let said = report.problems().join("; ");
    ensure!(said.contains("agent-4"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_in_no_wave_keeps_the_old_root_too() -> Result<()> {
    let report = drill(Some(Sabotage::Forgotten)).await?;
    let halted = report.halted.as_ref().context("halted")?;
    ensure!(halted.stage.contains("no connection"), "{halted:?}");
    let named: Vec<_> = halted.laggards.iter().map(|one| &*one.instance).collect();
    ensure!(named == ["batch-job"], "{named:?}");
    ensure!(report.fleet.iter().all(|member| member.is_of_new_ca));
    ensure!(
        report.old_root.trusted_by_nodes == NODES,
        "{:?}",
        report.problems()
    );
    Ok(())
}

#[tokio::test]
async fn the_command_ends_with_its_verdict_as_exit_code() -> Result<()> {
    let small = ["--pods", "2", "--max-unavailable", "1", "--json"];
    let (code, outcome) = command(&small).await?;
    let report = outcome.report.context("a report")?;
    ensure!(code == Some(0) && outcome.passed, "{report:?}");
    ensure!(report.plan.waves == 2, "{:?}", report.plan);

    let sabotage = ["--sabotage", "broken-files", "--reconnect-wait", "0s"];
    let (code, outcome) = command(&[&small[..], &sabotage].concat()).await?;
    let report = outcome.report.context("a report")?;
    ensure!(code == Some(1) && !outcome.passed, "{report:?}");
    ensure!(report.verdict == Verdict::Halted, "{report:?}");
    ensure!(report.old_root.trusted_by_nodes == NODES, "{report:?}");

    for wrong in [["--pods", "0"], ["--sabotage", "everything"]] {
        let program = env!("CARGO_BIN_EXE_drill");
        let finished = run(program, &[&["rotation"], &wrong[..]].concat()).await?;
        ensure!(finished.code == Some(2), "{wrong:?}: {finished:?}");
        ensure!(finished.stdout.is_empty(), "{wrong:?}: {finished:?}");
    }
    Ok(())
}

/// What people run. It builds what it needs; everything else is the same.
#[tokio::test]
async fn the_script_runs_the_drill_and_hands_its_verdict_on() -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/drill-rotation");
    let small = ["--pods", "2", "--max-unavailable", "1"];
    let finished = run(script, &small).await?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let verdict = finished.stdout.lines().last().unwrap_or_default();
    ensure!(
        verdict.starts_with("PASS: leaf and CA of 2 instances"),
        "{finished:?}"
    );
    let halted = ["--sabotage", "foreign-ca", "--json"];
    let finished = run(script, &[&small[..], &halted].concat()).await?;
    ensure!(finished.code == Some(1), "{finished:?}");
    let outcome: Outcome<RotationReport> = serde_json::from_str(&finished.stdout)?;
    let report = outcome.report.context("a report")?;
    ensure!(report.verdict == Verdict::Halted, "{report:?}");
    Ok(())
}

async fn command(arguments: &[&str]) -> Result<(Option<i32>, Outcome<RotationReport>)> {
    let program = env!("CARGO_BIN_EXE_drill");
    let finished = run(program, &[&["rotation"], arguments].concat()).await?;
    println!("{}", finished.stderr);
    Ok((finished.code, serde_json::from_str(&finished.stdout)?))
}

fn position(report: &RotationReport, name: &str) -> Result<usize> {
    let found = report
        .stages
        .iter()
        .position(|stage| stage.name.contains(name));
    found.with_context(|| format!("no stage {name:?}"))
}
