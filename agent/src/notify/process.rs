//! One process as `/proc` shows it. Reads and parses; judges nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::time::{Duration, SystemTime};

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

/// Far more than `stat`, `status` and `comm` have.
const MOST: u64 = 16 * 1024;

/// What is needed to know whom one is about to signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// The file name of the program it runs; its own name for itself if that cannot be read.
    pub(super) executable: String,
    /// Its real user.
    pub(super) user: u32,
    /// It has ended, and its parent has not looked yet.
    pub(super) has_ended: bool,
    /// In clock ticks since the machine started: what tells two processes of one id apart.
    started: u64,
}

impl Process {
    /// `NotFound` if there is none of that id.
    pub(super) fn look(pid: Pid) -> io::Result<Self> {
        let stat = read(pid, "stat").map_err(gone)?;
        let (has_ended, started) = parse_stat(&stat).ok_or_else(|| unreadable("stat"))?;
        let status = read(pid, "status").map_err(gone)?;
        let user = parse_user(&status).ok_or_else(|| unreadable("status"))?;
        Ok(Self {
            pid,
            executable: executable(pid)?,
            user,
            has_ended,
            started,
        })
    }

    /// When it started, by the wall clock as it is now.
    pub(super) fn started(&self, now: SystemTime) -> SystemTime {
        let up = clock_gettime(ClockId::Boottime);
        let up = Duration::new(
            up.tv_sec.try_into().unwrap_or_default(),
            up.tv_nsec.try_into().unwrap_or_default(),
        );
        let ticks = clock_ticks_per_second().max(1);
        let start = Duration::from_secs(self.started / ticks)
            + Duration::from_secs(self.started % ticks) / u32::try_from(ticks).unwrap_or(u32::MAX);
        now - up.saturating_sub(start)
    }

    /// The ids of all processes that can be seen.
    pub(super) fn all() -> io::Result<Vec<Pid>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            all.extend(entry?.file_name().to_str().and_then(parse_pid));
        }
        Ok(all)
    }
}

/// A positive number and nothing else.
pub(super) fn parse_pid(text: &str) -> Option<Pid> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Pid::from_raw(text.parse().ok().filter(|_| is_number)?)
}

fn read(pid: Pid, name: &str) -> io::Result<String> {
    let mut text = Vec::new();
    fs::File::open(path(pid, name))?
        .take(MOST)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn path(pid: Pid, name: &str) -> String {
    format!("/proc/{}/{name}", pid.as_raw_nonzero())
}

/// The program may have been replaced by a newer one since; the name stays. Other users' programs,
/// and those that the kernel protects, cannot be read.
fn executable(pid: Pid) -> io::Result<String> {
    if let Ok(link) = fs::read_link(path(pid, "exe"))
        && let Some(name) = link.file_name().map(OsStr::to_string_lossy)
    {
        return Ok(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned());
    }
    let name = read(pid, "comm").map_err(gone)?;
    Ok(name.trim_end().to_owned())
}

/// State and start; the name before them may hold anything, also parentheses.
fn parse_stat(stat: &str) -> Option<(bool, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // The state is field 3, the start field 22 (proc(5)).
    let started = fields.nth(18)?.parse().ok()?;
    Some((matches!(state, "Z" | "X"), started))
}

fn parse_user(status: &str) -> Option<u32> {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// A process that ends while it is read.
fn gone(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::SRCH.raw_os_error() => {
            io::ErrorKind::NotFound.into()
        }
        _ => error,
    }
}

fn unreadable(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc says something unknown in `{name}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_fields() {
        let fields = "S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = format!("7 (a) Z 9 9 (b) {fields}");
        assert_eq!(parse_stat(&stat), Some((false, 4711)));
        assert_eq!(parse_stat("7 (a) Z 1"), None);
        assert_eq!(parse_stat("nothing"), None);
        let ended = fields.replacen('S', "Z", 1);
        assert_eq!(parse_stat(&format!("7 (a) {ended}")), Some((true, 4711)));
        assert_eq!(parse_user("Name:\tx\nUid:\t10\t0\t0\t0\n"), Some(10));
    }

    #[test]
    fn an_id_is_a_positive_number() {
        assert_eq!(parse_pid("7"), Pid::from_raw(7));
        for text in ["", "0", "-7", "+7", "7 8", "99999999999", "self"] {
            assert_eq!(parse_pid(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let own = Process::look(rustix::process::getpid()).unwrap();
        assert_eq!(own.user, rustix::process::getuid().as_raw());
        assert!(!own.has_ended);
        let program = std::env::current_exe().unwrap();
        assert_eq!(
            program.file_name().unwrap().to_str().unwrap(),
            own.executable
        );
        let now = SystemTime::now();
        let age = now.duration_since(own.started(now)).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        assert!(Process::all().unwrap().contains(&own.pid));
    }
}
