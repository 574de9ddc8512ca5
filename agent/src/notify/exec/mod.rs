//! A program that is run after a rotation: without a shell, with a small environment, for a limited
//! time and with limited output. Everything it started ends with it.

mod leader;
mod log;
mod orphans;
mod output;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

pub(super) use orphans::Orphans;

use leader::{Ends, Leader};
use log::{FLOOD, Log};

use super::aside::{Aside, AsideError};
use super::news::News;
use crate::config::ExecConfig;

/// For what is left in the pipes after the end: whoever still holds them is not waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// For the kernel to take a killed process away; one that hangs in it is given up.
const KILLED: Duration = Duration::from_secs(5);

/// What a program may need to find its way, and what holds no secret of ours: `NATS_URL`, for one,
/// may hold a password.
const INHERITED: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
];

/// Why the run failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    #[error("{program} cannot be started: {cause}. Is the path right, and may the agent run it?")]
    Start { program: String, cause: io::Error },
    #[error("{program} ended with {status}; its output is in the agent's log")]
    Status { program: String, status: ExitStatus },
    #[error(
        "{program} took longer than {limit:?} and was ended with everything it started (--on-rotate-timeout)"
    )]
    TooSlow { program: String, limit: Duration },
    #[error("{program} wrote more than {FLOOD} bytes and was ended with everything it started")]
    Flood { program: String },
    #[error("cannot wait for {program}: {cause}")]
    Wait { program: String, cause: io::Error },
    #[error("starting {program}: {cause}")]
    Aside { program: String, cause: AsideError },
    #[error(
        "{program}, process {pid}, was killed and does not end: it hangs in the kernel, perhaps in a dead network mount. Not started again before it has ended"
    )]
    Unending { program: String, pid: i32 },
}

/// Runs one program.
pub(super) struct ExecHook {
    config: ExecConfig,
    orphans: Orphans,
    aside: Aside,
    /// One that was killed and has not ended yet.
    unending: Mutex<Option<Pid>>,
}

/// Why a run was over.
enum End {
    Exited(io::Result<()>),
    TooSlow,
    Flood,
}

impl ExecHook {
    pub(super) fn new(config: ExecConfig, orphans: Orphans) -> Self {
        Self {
            config,
            orphans,
            aside: Aside::default(),
            unending: Mutex::default(),
        }
    }

    /// For the status and the log. Arguments may hold a token.
    pub(super) fn target(&self) -> String {
        match self.config.arguments.len() {
            0 => self.config.program.clone(),
            1 => format!("{} with 1 argument", self.config.program),
            count => format!("{} with {count} arguments", self.config.program),
        }
    }

    pub(super) async fn run(&self, news: &News) -> Result<String, ExecError> {
        let program = || self.config.program.clone();
        let wait = |cause| ExecError::Wait {
            program: program(),
            cause,
        };
        let _hold = self.orphans.hold().await;
        self.refuse_a_second()?;
        let deadline = Instant::now() + self.config.limit;
        let mut ends = Ends::new().map_err(wait)?;
        let mut leader = self.start(news).await?;
        let mut streams = leader.streams().map_err(wait)?;
        let mut log = Log::default();
        let end = {
            let output = log.follow(&mut streams);
            tokio::pin!(output);
            tokio::select! {
                exited = leader.ended(&mut ends) => End::Exited(exited),
                () = &mut output => End::Flood,
                () = sleep_until(deadline) => End::TooSlow,
            }
        };
        let ended = self.end(&mut leader, &mut ends).await;
        timeout(LAST_WORDS, log.follow_to_end(&mut streams))
            .await
            .ok();
        match end {
            End::TooSlow => Err(ExecError::TooSlow {
                program: program(),
                limit: self.config.limit,
            }),
            End::Flood => Err(ExecError::Flood { program: program() }),
            End::Exited(Err(cause)) => Err(wait(cause)),
            End::Exited(Ok(())) => match ended? {
                status if status.success() => Ok(format!("{} succeeded", program())),
                status => Err(ExecError::Status {
                    program: program(),
                    status,
                }),
            },
        }
    }

    /// On a thread of its own, because it returns only once the program is loaded.
    async fn start(&self, news: &News) -> Result<Leader, ExecError> {
        let mut command = Command::new(&self.config.program);
        command
            .args(&self.config.arguments)
            .env_clear()
            .envs(
                INHERITED
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(news.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let start = move || command.spawn().map(Leader::new);
        let started = self.aside.run(self.config.limit, start).await;
        let started = started.map_err(|cause| ExecError::Aside {
            program: self.config.program.clone(),
            cause,
        })?;
        started.map_err(|cause| ExecError::Start {
            program: self.config.program.clone(),
            cause,
        })
    }

    /// Kills and reaps the program and everything it started, whether or not it has ended.
    async fn end(&self, leader: &mut Leader, ends: &mut Ends) -> Result<ExitStatus, ExecError> {
        let family = self.orphans.family_of(leader.pid());
        leader.kill_group();
        let status = match timeout(KILLED, leader.reap(ends)).await {
            Ok(status) => status.map_err(|cause| ExecError::Wait {
                program: self.config.program.clone(),
                cause,
            })?,
            Err(_) => {
                *self.unending() = Some(leader.pid());
                return Err(self.is_unending(leader.pid()));
            }
        };
        match timeout(KILLED, self.orphans.end(&family, ends)).await {
            Ok(0) => {}
            Ok(count) => info!(
                hook = "exec",
                count, "ended what the program left running outside of its process group"
            ),
            Err(_) => warn!(
                hook = "exec",
                "something that the program left running was killed and does not end"
            ),
        }
        Ok(status)
    }

    /// One that hangs in the kernel stays one.
    fn refuse_a_second(&self) -> Result<(), ExecError> {
        let mut unending = self.unending();
        if let Some(pid) = *unending {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            if let Ok(None) = waitid(WaitId::Pid(pid), options) {
                return Err(self.is_unending(pid));
            }
            *unending = None;
        }
        Ok(())
    }

    fn is_unending(&self, pid: Pid) -> ExecError {
        ExecError::Unending {
            program: self.config.program.clone(),
            pid: pid.as_raw_nonzero().get(),
        }
    }

    fn unending(&self) -> MutexGuard<'_, Option<Pid>> {
        self.unending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ExecHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target())
    }
}
