//! What a process uses, as Linux tells in `/proc`.

use std::fs;

use anyhow::{Context as _, Result};

/// Memory and CPU of one process at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory, MiB.
    pub resident: f64,
    /// The part of it that is no file, MiB.
    pub anonymous: f64,
    /// The most that was ever resident, MiB.
    pub highest: f64,
    /// User and system time of all threads, those that have ended too.
    pub cpu_milliseconds: f64,
}

impl Usage {
    /// Of the process with this id.
    ///
    /// # Errors
    /// When it has ended, or this is not Linux.
    pub fn of(pid: i32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mebibytes = |name: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
            Ok(kibibytes.with_context(|| name.to_owned())?.parse::<f64>()? / 1024.0)
        };
        Ok(Self {
            resident: mebibytes("VmRSS:")?,
            anonymous: mebibytes("RssAnon:")?,
            highest: mebibytes("VmHWM:")?,
            cpu_milliseconds: cpu_milliseconds(pid)?,
        })
    }

    /// Of this process.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn own() -> Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }
}

/// User and system time of `/proc/<pid>/stat`.
fn cpu_milliseconds(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the state follows it, see proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<Result<_, _>>()?;
    // USER_HZ is 100 on every architecture that Rust runs Linux on, but for Alpha's 1024.
    Ok(ticks * 10.0)
}
