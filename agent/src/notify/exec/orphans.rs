//! Processes whose parent has ended, adopted by the agent: those that a program started and that
//! left its process group (`setsid`, a daemon that forks twice), and as process 1 of a container
//! everybody's. The former are ended with the program, all are reaped.
//!
//! No other child of the agent may run beside a program: what is no orphan is its.

use std::collections::HashSet;
use std::convert::Infallible;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
#[cfg(target_os = "linux")]
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::sync::{Mutex, MutexGuard};
use tracing::warn;

#[cfg(target_os = "linux")]
use super::super::process::Process;
use super::leader::Ends;
#[cfg(not(target_os = "linux"))]
use Infallible as Process;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orphans {
    /// None: they go to somebody else, and are left alone.
    adopted: Option<Arc<Mutex<()>>>,
}

impl Orphans {
    /// From now on the orphans among the agent's descendants become its children. For the whole
    /// process, so nothing else in it may have children.
    pub(crate) fn adopt() -> Self {
        #[cfg(target_os = "linux")]
        match rustix::process::set_child_subreaper(Some(getpid())) {
            Ok(()) => {
                return Self {
                    adopted: Some(Arc::default()),
                };
            }
            Err(error) => warn!(
                %error,
                "what a hook leaves running outside of its process group will not be ended"
            ),
        }
        Self::default()
    }

    /// Nobody reaps meanwhile.
    pub(super) async fn hold(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.adopted {
            Some(adopted) => Some(adopted.lock().await),
            None => None,
        }
    }

    /// Reaps while no program runs, for ever.
    pub(crate) async fn reap(self) -> Infallible {
        let mut ends = match Ends::new() {
            Ok(ends) if self.adopted.is_some() => ends,
            Ok(_) => return std::future::pending().await,
            Err(error) => {
                warn!(%error, "processes that end are not taken away");
                return std::future::pending().await;
            }
        };
        loop {
            let hold = self.hold().await;
            reap_all();
            drop(hold);
            ends.next_for_certain().await;
        }
    }

    /// To be asked before the program is reaped.
    pub(super) fn family_of(&self, leader: Pid) -> Family {
        Family {
            #[cfg(target_os = "linux")]
            leader: self
                .adopted
                .as_ref()
                .and_then(|_| Process::look(leader).ok()),
            #[cfg(not(target_os = "linux"))]
            leader: None,
        }
    }

    /// Kills what is left of a family until nothing is; its leader was reaped. Says how many there
    /// were.
    pub(super) async fn end(&self, family: &Family, ends: &mut Ends) -> usize {
        let mut killed = HashSet::new();
        while family.leader.is_some() && reap_all() == Left::Some {
            let strays = family.strays();
            if strays.is_empty() {
                break;
            }
            for stray in strays {
                stray.kill();
                killed.insert(stray.pid);
            }
            ends.next().await;
        }
        killed.len()
    }
}

/// A program and what it started.
#[derive(Debug)]
pub(super) struct Family {
    /// None if nothing of it comes to us.
    leader: Option<Process>,
}

/// One that was adopted, held so that no other can get its id.
struct Stray {
    pid: Pid,
    #[cfg(target_os = "linux")]
    held: OwnedFd,
}

impl Family {
    /// Our children that are no older than the leader. Its own are among them once it is reaped, and
    /// theirs once they are killed.
    #[cfg(target_os = "linux")]
    fn strays(&self) -> Vec<Stray> {
        let Some(leader) = &self.leader else {
            return Vec::new();
        };
        let own = getpid().as_raw_nonzero().get();
        let all = Process::all().unwrap_or_default().into_iter();
        all.filter_map(|pid| {
            let is_stray = |process: &Process| {
                process.parent == own && !process.has_ended && process.is_no_older_than(leader)
            };
            // Cheaper than holding each process there is, and asked again of the one that is held.
            Process::look(pid).ok().filter(is_stray)?;
            let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            Process::look(pid).ok().filter(is_stray)?;
            Some(Stray { pid, held })
        })
        .collect()
    }

    #[cfg(not(target_os = "linux"))]
    fn strays(&self) -> Vec<Stray> {
        Vec::new()
    }
}

impl Stray {
    /// One that has ended meanwhile is as good.
    #[cfg(target_os = "linux")]
    fn kill(&self) {
        pidfd_send_signal(&self.held, Signal::KILL).ok();
    }

    #[cfg(not(target_os = "linux"))]
    fn kill(&self) {}
}

/// Whether we still have children.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Some,
    None,
}

/// Takes away every child that has ended.
fn reap_all() -> Left {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Left::Some,
            Err(_) => return Left::None,
        }
    }
}
