//! A process that is started again whenever it ends, as an orchestrator would, and counted.

use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::Process;

#[derive(Debug)]
pub(super) struct Supervised {
    command: Command,
    /// How many times it was started again.
    pub(super) restarts: u32,
    // Before the directory, so that the process has ended when its files go away.
    process: Process,
    directory: TempDir,
}

impl Supervised {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            process: Process::start("service", &mut command, directory.path())?,
            command,
            restarts: 0,
            directory,
        })
    }

    /// Starts it again if it has ended.
    pub(super) fn tend(&mut self) -> Result<()> {
        if self.process.exit_status()?.is_some() {
            self.restarts += 1;
            self.process = Process::start("service", &mut self.command, self.directory.path())?;
        }
        Ok(())
    }

    /// For what has a task and an end: whether it has done it. Failed, it is started again.
    pub(super) fn is_done(&mut self) -> Result<bool> {
        let done = self
            .process
            .exit_status()?
            .is_some_and(|status| status.success());
        if !done {
            self.tend()?;
        }
        Ok(done)
    }
}
