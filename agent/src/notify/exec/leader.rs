//! The program itself, with its process group. It is not reaped before the group was killed: until
//! then its id, and so that of the group, is its own.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::timeout;

/// Whoever started us may have blocked the signal that says so.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Word that some child has ended. No thread waits for it.
pub(super) struct Ends(unix::Signal);

impl Ends {
    /// Before the program is started, so that its end is not missed.
    pub(super) fn new() -> io::Result<Self> {
        unix::signal(SignalKind::child()).map(Self)
    }

    /// Resolves when one may have ended, at the latest after a second.
    pub(super) async fn next(&mut self) {
        timeout(LOOK_AGAIN, self.0.recv()).await.ok();
    }

    /// The same for who has no hurry.
    pub(super) async fn next_for_certain(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// A program that was started. On drop its group is killed.
#[derive(Debug)]
pub(super) struct Leader {
    child: Child,
    pid: Pid,
}

impl Leader {
    pub(super) fn new(child: Child) -> Self {
        Self {
            pid: Pid::from_child(&child),
            child,
        }
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Its standard output and error.
    pub(super) fn streams(&mut self) -> io::Result<(Option<ChildStdout>, Option<ChildStderr>)> {
        let stdout = self.child.stdout.take().map(ChildStdout::from_std);
        let stderr = self.child.stderr.take().map(ChildStderr::from_std);
        Ok((stdout.transpose()?, stderr.transpose()?))
    }

    /// Resolves when it has ended, without reaping it.
    pub(super) async fn ended(&self, ends: &mut Ends) -> io::Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(self.pid), options)?.is_none() {
            ends.next().await;
        }
        Ok(())
    }

    /// The program and everything it started, unless that left the group.
    pub(super) fn kill_group(&self) {
        // Nobody left is as good.
        kill_process_group(self.pid, Signal::KILL).ok();
    }

    /// Resolves when the kernel has taken it away.
    pub(super) async fn reap(&mut self, ends: &mut Ends) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ends.next().await;
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Asked first: the id of one that was reaped may be somebody else's.
        if let Ok(None) = self.child.try_wait() {
            self.kill_group();
            // At once if it was asleep; otherwise whoever reaps the orphans does it.
            self.child.try_wait().ok();
        }
    }
}
