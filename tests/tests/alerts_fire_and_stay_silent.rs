//! Every shipped rule fires when it should and stays silent when it should not: promtool runs the
//! tests in `agent/deploy/prometheus/tests`, and finds nothing to say about the rules.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Result, ensure};
use nats_mtls_tests::prometheus::{Program, program};
use tokio::process::{Child, Command};

fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/deploy/prometheus")
}

async fn start(arguments: &[&str], file: &Path) -> Result<Child> {
    Ok(Command::new(program(Program::Promtool).await?)
        .args(arguments)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?)
}

fn text(output: &Output) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn the_rules_are_well_formed() -> Result<()> {
    let rules = deployed().join("nats-mtls.rules.yml");
    // --lint-fatal: a duplicate is an error, not a remark.
    let check = start(&["check", "rules", "--lint-fatal"], &rules).await?;
    let output = check.wait_with_output().await?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(())
}

/// One promtool for each file, all at once: promtool itself uses one core.
#[tokio::test]
async fn the_tests_of_the_rules_pass() -> Result<()> {
    let mut running = Vec::new();
    for entry in std::fs::read_dir(deployed().join("tests"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.yml") {
            running.push((start(&["test", "rules"], &path).await?, path));
        }
    }
    ensure!(!running.is_empty(), "no tests in {:?}", deployed());
    for (test, path) in running {
        let output = test.wait_with_output().await?;
        let said = text(&output);
        ensure!(
            output.status.success() && said.contains("SUCCESS"),
            "{}:\n{said}",
            path.display()
        );
    }
    Ok(())
}
