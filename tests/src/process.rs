//! One child process: its output in a file, signals by its own id, killed on drop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};

use crate::wait::{PATIENCE, eventually};

pub use rustix::process::Signal;

const SHOWN_LINES: usize = 120;

static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on no output of children is printed when they are dropped: for a program that has
/// succeeded. Tests need not call it, the test runner hides what a passed test prints.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Takes [`be_quiet`] back: for a program that has failed.
pub fn be_loud() {
    QUIET.store(false, Ordering::Relaxed);
}

/// A running (or ended) child.
///
/// When dropped it is killed, and the end of its output is printed: the test runner shows that
/// only for a failed test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: Pid,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `<directory>/<name>.stdout` and `.stderr`, appended
    /// to what an earlier run left there.
    ///
    /// # Errors
    /// When the output files cannot be made or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let stdout = directory.join(format!("{name}.stdout"));
        let stderr = directory.join(format!("{name}.stderr"));
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&stdout)?)
            .stderr(append(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self {
            name: name.to_owned(),
            pid: Pid::from_child(&child),
            child: Mutex::new(child),
            stdout,
            stderr,
        })
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The memory it has in use, in bytes.
    ///
    /// # Errors
    /// When it has ended, or the system does not tell (not Linux).
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory it ever had in use, in bytes.
    ///
    /// # Errors
    /// As [`Self::resident`].
    pub fn most_resident(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        let kilobytes: u64 = kilobytes.with_context(|| status.clone())?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text_of(&self.stdout)
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text_of(&self.stderr)
    }

    /// Sends a signal, unless the process has ended.
    ///
    /// # Errors
    /// When it has ended, or the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Asked first, because the id of a reaped child may belong to a stranger.
        if let Some(status) = self.exit_status()? {
            anyhow::bail!("{} has already ended: {status}", self.name);
        }
        kill_process(self.pid, signal).with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// Stops it (SIGSTOP) and waits until every thread has stopped: the signal alone returns
    /// while some still run.
    ///
    /// # Errors
    /// When it has ended, or does not stop.
    pub async fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let what = format!("{} stops", self.name);
        eventually(PATIENCE, &what, || async {
            Ok(waitid(WaitId::Pid(self.pid), options)?.map(|_| ()))
        })
        .await
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        Ok(self.lock().try_wait()?)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        eventually(deadline, &format!("{} ends", self.name), || async {
            self.exit_status()
        })
        .await
    }

    /// Ends it at once, without a chance to clean up. Does nothing if it has ended.
    pub fn kill(&self) {
        let mut child = self.lock();
        // An ended child refuses the signal: that is what was asked for.
        let _ = child.kill();
        let _ = child.wait();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if QUIET.load(Ordering::Relaxed) {
            return;
        }
        for (stream, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let lines: Vec<_> = text.lines().collect();
            if !lines.is_empty() {
                let shown = lines.len().saturating_sub(SHOWN_LINES);
                println!("--- {stream} of {} ({shown} lines left out)", self.name);
                println!("{}", lines[shown..].join("\n"));
            }
        }
    }
}

fn append(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
