//! `scripts/drill-rotation`, the same code: a fleet on a 3-node cluster gets new leaves and a new
//! CA in waves; where one instance cannot follow, the drill halts, names it, and the old root stays.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent;
use nats_mtls_tests::drill::rotation::{self, NODES, Report, Sabotage, Settings, Verdict};
use nats_mtls_tests::process::Process;
use nats_mtls_tests::wait::PATIENCE;
use serde_json::Value;

const LEAVES: &str = "CA: leaves of the new CA";

async fn drill(sabotage: Option<Sabotage>) -> Result<Report> {
    let settings = Settings {
        sabotage,
        ..Settings::default()
    };
    let report = rotation::run(&settings, &mut |_| {}).await?;
    println!("{}\n{}", report.picture(), report.line());
    Ok(report)
}

#[tokio::test]
async fn leaf_and_ca_of_a_fleet_rotate_in_waves_and_the_old_root_goes_last() -> Result<()> {
    let report = drill(None).await?;
    ensure!(report.verdict() == Verdict::Passed, "{}", report.line());
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
    ensure!(report.verdict() == Verdict::Halted, "{}", report.line());
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
    ensure!(report.line().contains("agent-4"), "{}", report.line());
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
        "{}",
        report.line()
    );
    Ok(())
}

#[tokio::test]
async fn the_command_ends_with_its_verdict_as_exit_code() -> Result<()> {
    let small = ["--pods", "2", "--max-unavailable", "1", "--json"];
    let (code, answer) = command(&small).await?;
    ensure!(code == Some(0) && answer["verdict"] == "passed", "{answer}");
    ensure!(answer["plan"]["waves"] == 2, "{answer}");

    let sabotage = ["--sabotage", "broken-files", "--reconnect-wait", "0"];
    let halted = [&small[..], &sabotage].concat();
    let (code, answer) = command(&halted).await?;
    ensure!(code == Some(1) && answer["verdict"] == "halted", "{answer}");
    ensure!(answer["old_root"]["trusted_by_nodes"] == NODES, "{answer}");

    for wrong in [["--pods", "0"], ["--sabotage", "everything"]] {
        let (code, _) = command(&wrong).await?;
        ensure!(code == Some(2), "{wrong:?}: {code:?}");
    }
    Ok(())
}

async fn command(arguments: &[&str]) -> Result<(Option<i32>, Value)> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_drill-rotation"));
    command
        .args(arguments)
        .env("NATS_MTLS_AGENT", agent::binary().await?);
    let drill = Process::start("drill-rotation", &mut command, directory.path())?;
    let status = drill.wait(PATIENCE * 3).await?;
    let answer = serde_json::from_str(&drill.stdout()).unwrap_or_default();
    Ok((status.code(), answer))
}

fn position(report: &Report, name: &str) -> Result<usize> {
    let found = report
        .stages
        .iter()
        .position(|stage| stage.name.contains(name));
    found.with_context(|| format!("no stage {name:?}"))
}
