//! A signal to the one process that was meant, and to no other.
//!
//! A process id is a number that the kernel gives away again. So a pidfd is opened first, which
//! stays with one process for ever; then it is looked at what that process is; then the signal goes
//! through the pidfd. If the id changed hands in between, the pidfd leads to a process that has
//! ended, and the signal to nobody.

#[cfg(target_os = "linux")]
mod seen;
#[cfg(target_os = "linux")]
mod send;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::io;
use std::path::PathBuf;

use super::aside::{Aside, AsideError};
use crate::config::{SignalConfig, Target};

/// Why no process was signalled.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "nothing is looked at elsewhere")
)]
pub(super) enum SignalError {
    #[error("cannot read the pid file {}: {cause}. Does the process write it, and may the agent read it?", path.display())]
    PidFile { path: PathBuf, cause: io::Error },
    /// Not what it holds: a path that was mistaken may lead to a secret.
    #[error("{} holds no process id, or more than that. Is it the pid file?", path.display())]
    NoPid { path: PathBuf },
    #[error(
        "{source_of} names process {pid}, and there is none: the pid file is stale, or of another PID namespace (Kubernetes: shareProcessNamespace)"
    )]
    Stale { source_of: String, pid: i32 },
    #[error(
        "process {pid} exists, but /proc does not show it to the agent (user {own}): it belongs to another user, or is hidden (systemd: ProtectProc; mount option hidepid). Run both as the same user"
    )]
    Hidden { pid: i32, own: u32 },
    #[error(
        "{source_of} names process {pid} ({executable}), which started after the file was written: the pid file is stale and the id is somebody else's now. If instead the clock was set since, at a boot without one or while the machine slept, write the file anew, or use --process-name"
    )]
    Recycled {
        source_of: String,
        pid: i32,
        executable: String,
    },
    #[error(
        "{source_of} names process {pid}, which runs {executable} and not {expected} as before: the pid file is stale. Restart the agent if the program has a new name"
    )]
    OtherProgram {
        source_of: String,
        pid: i32,
        executable: String,
        expected: String,
    },
    #[error(
        "process {pid} ({executable}) belongs to user {user}, and the agent is user {own}: run both as the same user"
    )]
    OtherUser {
        pid: i32,
        executable: String,
        user: u32,
        own: u32,
    },
    #[error(
        "{source_of} names process {pid}, the agent itself: the pid file is of another PID namespace (Kubernetes: shareProcessNamespace)"
    )]
    Ourselves { source_of: String, pid: i32 },
    #[error("process {pid} ({executable}) has ended")]
    Ended { pid: i32, executable: String },
    #[error(
        "no process that the agent (user {own}) can see runs {name}. Is it up, of the same user, and in the agent's PID namespace (Kubernetes: shareProcessNamespace)?"
    )]
    NotFound { name: String, own: u32 },
    #[error("{count} processes run {name}: {pids}. Name the one that is meant with --pid-file")]
    Several {
        name: String,
        count: usize,
        pids: String,
    },
    #[error("process {pid}: {cause}")]
    System { pid: i32, cause: io::Error },
    #[error("cannot list processes: {0}")]
    Proc(io::Error),
    #[error("signals need Linux: only there a process id can be held on to")]
    #[cfg_attr(
        target_os = "linux",
        expect(dead_code, reason = "for the other systems")
    )]
    NotLinux,
    #[error("looking for the process: {0}")]
    Aside(#[from] AsideError),
}

/// Sends one signal to one process.
#[derive(Debug, Clone)]
pub(super) struct SignalHook {
    config: SignalConfig,
    aside: Aside,
    #[cfg(target_os = "linux")]
    memory: seen::Memory,
}

impl SignalHook {
    pub(super) fn new(config: SignalConfig) -> Self {
        Self {
            config,
            aside: Aside::default(),
            #[cfg(target_os = "linux")]
            memory: seen::Memory::default(),
        }
    }

    /// For the status and the log.
    pub(super) fn target(&self) -> String {
        let name = self.config.name;
        match &self.config.target {
            Target::PidFile(path) => format!("SIG{name} to the process of {}", path.display()),
            Target::Name(program) => format!("SIG{name} to the process {program}"),
        }
    }

    /// Looks at the process without a signal, so that a later one can be told from it. What goes
    /// wrong now is said when there is something to tell.
    #[cfg(target_os = "linux")]
    pub(super) async fn look(&self) {
        if let Err(error) = self.find().await {
            tracing::debug!(%error, "the process to be signalled is not there yet");
        }
    }

    #[cfg(target_os = "linux")]
    async fn find(&self) -> Result<(std::os::fd::OwnedFd, super::process::Process), SignalError> {
        let Self { config, memory, .. } = self.clone();
        let find = move || send::find(&config.target, &memory);
        self.aside.run(self.config.limit, find).await?
    }

    /// Says whom it was sent to.
    #[cfg(target_os = "linux")]
    pub(super) async fn run(&self) -> Result<String, SignalError> {
        let name = self.config.name;
        let (pidfd, process) = self.find().await?;
        send::signal(&pidfd, &process, self.config.signal)?;
        let pid = process.pid.as_raw_nonzero();
        Ok(format!(
            "SIG{name} to process {pid} ({})",
            process.executable
        ))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) async fn look(&self) {}

    #[cfg(not(target_os = "linux"))]
    pub(super) async fn run(&self) -> Result<String, SignalError> {
        Err(SignalError::NotLinux)
    }
}
