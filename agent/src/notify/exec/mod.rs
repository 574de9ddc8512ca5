//! A program that is run after a rotation: without a shell, with a small environment, in a process
//! group of its own that ends with it, for a limited time and with limited output.

mod output;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::info;

use output::{Allowance, Lines};

use super::news::News;
use crate::config::ExecConfig;

/// Far more than a hook has to say; a program that writes more is out of control.
const FLOOD: u64 = 4 * 1024 * 1024;
/// For what is left in the pipes after the end: whoever still holds them is not waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// For the kernel to take a killed process away; one that hangs in it is given up.
const KILLED: Duration = Duration::from_secs(5);
const CHUNK: usize = 8 * 1024;

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
}

/// Runs one program.
pub(super) struct ExecHook {
    config: ExecConfig,
}

/// Why a run was over.
enum End {
    Exited(io::Result<()>),
    TooSlow,
    Flood,
}

impl ExecHook {
    pub(super) fn new(config: ExecConfig) -> Self {
        Self { config }
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
        let mut child = self.start(news)?;
        let group = Group::of(&child);
        let mut streams = (child.stdout.take(), child.stderr.take());
        let mut log = Log::default();
        let end = {
            let output = log.follow(&mut streams);
            tokio::pin!(output);
            tokio::select! {
                exited = group.leader_ended() => End::Exited(exited),
                () = &mut output => End::Flood,
                () = sleep(self.config.limit) => End::TooSlow,
            }
        };
        // Before the leader is reaped: until then its id, and so that of the group, is its own.
        group.kill();
        timeout(LAST_WORDS, log.follow_to_end(&mut streams))
            .await
            .ok();
        let status = timeout(KILLED, child.wait()).await;
        match end {
            End::TooSlow => Err(ExecError::TooSlow {
                program: program(),
                limit: self.config.limit,
            }),
            End::Flood => Err(ExecError::Flood { program: program() }),
            End::Exited(Err(cause)) => Err(ExecError::Wait {
                program: program(),
                cause,
            }),
            End::Exited(Ok(())) => match status {
                Ok(Ok(status)) if status.success() => Ok(format!("{} succeeded", program())),
                Ok(Ok(status)) => Err(ExecError::Status {
                    program: program(),
                    status,
                }),
                Ok(Err(cause)) => Err(ExecError::Wait {
                    program: program(),
                    cause,
                }),
                Err(_) => Err(ExecError::Wait {
                    program: program(),
                    cause: io::ErrorKind::TimedOut.into(),
                }),
            },
        }
    }

    fn start(&self, news: &News) -> Result<Child, ExecError> {
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
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().map_err(|cause| ExecError::Start {
            program: self.config.program.clone(),
            cause,
        })
    }
}

/// The program and everything it started, unless that left the group on purpose. Killed on drop.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            leader: id.and_then(Pid::from_raw),
        }
    }

    /// Resolves when the leader has ended, without reaping it.
    async fn leader_ended(&self) -> io::Result<()> {
        let Some(leader) = self.leader else {
            return Ok(());
        };
        let waiting: JoinHandle<rustix::io::Result<()>> = tokio::task::spawn_blocking(move || {
            loop {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                match waitid(WaitId::Pid(leader), options) {
                    Err(rustix::io::Errno::INTR) => {}
                    other => return other.map(|_| ()),
                }
            }
        });
        Ok(waiting.await.map_err(io::Error::other)??)
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // Nobody left is as good.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

/// What was read of both streams.
#[derive(Default)]
struct Log {
    stdout: Stream,
    stderr: Stream,
    allowance: Allowance,
    read: u64,
}

#[derive(Default)]
struct Stream {
    lines: Lines,
    has_ended: bool,
}

impl Log {
    /// Resolves only if there is too much of it.
    async fn follow(
        &mut self,
        streams: &mut (
            Option<impl AsyncRead + Unpin>,
            Option<impl AsyncRead + Unpin>,
        ),
    ) {
        self.follow_to_end(streams).await;
        if self.read <= FLOOD {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when both streams have ended, or there is too much of them.
    async fn follow_to_end(
        &mut self,
        (stdout, stderr): &mut (
            Option<impl AsyncRead + Unpin>,
            Option<impl AsyncRead + Unpin>,
        ),
    ) {
        let (mut out, mut err) = ([0; CHUNK], [0; CHUNK]);
        while self.read <= FLOOD && !(self.stdout.has_ended && self.stderr.has_ended) {
            let (name, stream, bytes) = tokio::select! {
                read = next(stdout, &mut out), if !self.stdout.has_ended => {
                    ("stdout", &mut self.stdout, out.get(..read).unwrap_or_default())
                }
                read = next(stderr, &mut err), if !self.stderr.has_ended => {
                    ("stderr", &mut self.stderr, err.get(..read).unwrap_or_default())
                }
            };
            self.read += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            for line in stream.lines.handle_bytes(bytes, &mut self.allowance) {
                say(name, &line);
            }
            if bytes.is_empty() {
                stream.has_ended = true;
                if let Some(line) = stream.lines.handle_end(&mut self.allowance) {
                    say(name, &line);
                }
            }
        }
    }
}

/// Nothing at the end, or once it cannot be read.
async fn next(stream: &mut Option<impl AsyncRead + Unpin>, chunk: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(chunk).await.unwrap_or_default(),
        None => 0,
    }
}

fn say(stream: &str, line: &str) {
    info!(hook = "exec", stream, "{line}");
}

impl fmt::Debug for ExecHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target())
    }
}
