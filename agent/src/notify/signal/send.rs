//! From a pid file or a name to a pidfd of the right process, and the signal through it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getuid, pidfd_open, pidfd_send_signal, test_kill_process,
};

use super::super::process::{Process, parse_pid};
use super::SignalError;
use super::seen::{Memory, Relation};
use crate::config::Target;
use crate::words::brief;

/// A process id and white space.
const MOST: u64 = 64;
/// File times and process starts are counted in ticks, and a network file system rounds to seconds.
const ROUNDING: Duration = Duration::from_secs(2);

/// The process, held by its pidfd. `memory` learns only who passed every check.
pub(super) fn find(target: &Target, memory: &Memory) -> Result<(OwnedFd, Process), SignalError> {
    let (pidfd, process) = match target {
        Target::PidFile(path) => by_file(path, memory),
        Target::Name(name) => by_name(name, memory),
    }?;
    memory.remember(&process);
    Ok((pidfd, process))
}

/// Reaches nobody else: if the process has ended, there is an error instead.
pub(super) fn signal(
    pidfd: &OwnedFd,
    process: &Process,
    signal: Signal,
) -> Result<(), SignalError> {
    let pid = raw(process.pid);
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::SRCH) => Err(SignalError::Ended {
            pid,
            executable: process.executable.clone(),
        }),
        Err(error) => Err(SignalError::System {
            pid,
            cause: error.into(),
        }),
    }
}

fn by_file(path: &Path, memory: &Memory) -> Result<(OwnedFd, Process), SignalError> {
    let source_of = || path.display().to_string();
    let (pid, written) = read_pid_file(path)?;
    let stale = || SignalError::Stale {
        source_of: source_of(),
        pid: raw(pid),
    };
    if pid == getpid() {
        return Err(SignalError::Ourselves {
            source_of: source_of(),
            pid: raw(pid),
        });
    }
    let (pidfd, process) = hold(pid, Process::look)?.ok_or_else(stale)?;
    refuse_strangers(&process)?;
    let relation = memory.relation(&process);
    let is_younger = || process.started(SystemTime::now()) > written + ROUNDING;
    if relation != Relation::Same && is_younger() {
        return Err(SignalError::Recycled {
            source_of: source_of(),
            pid: raw(pid),
            executable: brief(&process.executable),
        });
    }
    if let Relation::OtherProgram(expected) = relation {
        return Err(SignalError::OtherProgram {
            source_of: source_of(),
            pid: raw(pid),
            executable: brief(&process.executable),
            expected: brief(&expected),
        });
    }
    Ok((pidfd, process))
}

fn by_name(name: &str, memory: &Memory) -> Result<(OwnedFd, Process), SignalError> {
    let all = Process::all().map_err(SignalError::Proc)?;
    let mut named: Vec<Process> = all
        .into_iter()
        .filter(|pid| *pid != getpid())
        // What ends while it is looked at, or hides, is not the one.
        .filter_map(|pid| Process::look(pid).ok())
        .filter(|process| {
            !process.has_ended && (process.executable == name || process.name == name)
        })
        .collect();
    // Processes of others are no choice, but the best explanation if there is no other.
    if named.iter().any(is_ours) {
        named.retain(is_ours);
    }
    // What it runs says more than what it is called: a script that starts the program, and waits
    // for it, may have its name. Not that one either while the program is being restarted.
    let runs = |process: &Process| process.executable == name;
    if memory.runs(name) || named.iter().any(runs) {
        named.retain(runs);
    }
    let found = match named.as_slice() {
        [] => {
            return Err(SignalError::NotFound {
                name: name.to_owned(),
                own: own(),
            });
        }
        [found] => found,
        several => {
            let shown = several.iter().take(10);
            let pids: Vec<_> = shown.map(|process| raw(process.pid).to_string()).collect();
            return Err(SignalError::Several {
                name: name.to_owned(),
                count: several.len(),
                pids: pids.join(", "),
            });
        }
    };
    refuse_strangers(found)?;
    match hold(found.pid, Process::look)? {
        // Start, program and user again: what the pidfd holds is what was found.
        Some((pidfd, process)) if process == *found => Ok((pidfd, process)),
        _ => Err(SignalError::Ended {
            pid: raw(found.pid),
            executable: found.executable.clone(),
        }),
    }
}

/// The pidfd first, then the look: what is seen may only be newer than what is held, and then the
/// held one has ended.
pub(super) fn hold(
    pid: Pid,
    look: impl FnOnce(Pid) -> io::Result<Process>,
) -> Result<Option<(OwnedFd, Process)>, SignalError> {
    let failed = |cause: io::Error| SignalError::System {
        pid: raw(pid),
        cause,
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // Older kernels and threads that are no processes.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    match look(pid) {
        Ok(process) if process.has_ended => Err(SignalError::Ended {
            pid: raw(pid),
            executable: brief(&process.executable),
        }),
        Ok(process) => Ok(Some((pidfd, process))),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied if exists(pid) => {
                Err(SignalError::Hidden {
                    pid: raw(pid),
                    own: own(),
                })
            }
            io::ErrorKind::NotFound => Ok(None),
            _ => Err(failed(error)),
        },
    }
}

/// Also one that may not be signalled, or that /proc hides: the kernel says of every process whether
/// it is there.
fn exists(pid: Pid) -> bool {
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// Also for root: who may write the pid file would otherwise choose whom root signals.
fn refuse_strangers(process: &Process) -> Result<(), SignalError> {
    if is_ours(process) {
        return Ok(());
    }
    Err(SignalError::OtherUser {
        pid: raw(process.pid),
        executable: brief(&process.executable),
        user: process.user,
        own: own(),
    })
}

fn is_ours(process: &Process) -> bool {
    process.user == own()
}

fn own() -> u32 {
    getuid().as_raw()
}

/// The id, and when it was written.
fn read_pid_file(path: &Path) -> Result<(Pid, SystemTime), SignalError> {
    let failed = |cause: io::Error| SignalError::PidFile {
        path: path.to_owned(),
        cause,
    };
    let (text, written) = read_regular(path).map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    let pid = parse_pid(text.trim()).ok_or_else(|| SignalError::NoPid {
        path: path.to_owned(),
    })?;
    Ok((pid, written))
}

/// A FIFO would make the reader wait for ever.
fn read_regular(path: &Path) -> io::Result<(Vec<u8>, SystemTime)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    // Asked before opening, because opening a device can have effects of its own.
    if !fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(no_file());
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok((text, metadata.modified()?))
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
