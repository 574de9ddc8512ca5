//! What a drill leaves behind for machines, and how a test runs one as the scripts do.

use std::ffi::OsStr;
use std::process::Stdio;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::agent::Finished;
use crate::{agent, server};

/// The one line of JSON that a drill prints with `--json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome<R> {
    /// Which drill.
    pub drill: String,
    /// Whether all was as it should be.
    pub passed: bool,
    /// What was not.
    pub problems: Vec<String>,
    /// What was seen; nothing if the stage could not be set.
    pub report: Option<R>,
}

/// Runs `program`, the binary `drill`, to its end.
///
/// # Errors
/// When it, or what it needs, cannot be started.
pub async fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Finished> {
    let output = Command::new(program)
        .args(arguments)
        .env("NATS_MTLS_AGENT", agent::binary().await?)
        .env("NATS_SERVER", server::binary()?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
