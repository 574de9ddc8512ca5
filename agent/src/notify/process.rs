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
    /// What it is called: after the script or the link that it was started by, unless it chose
    /// another name. At most 15 bytes.
    pub(super) name: String,
    /// Its real user.
    pub(super) user: u32,
    /// Who adopted it if its own parent has ended.
    pub(super) parent: i32,
    /// It has ended, and its parent has not looked yet.
    pub(super) has_ended: bool,
    /// In clock ticks since the machine started: what tells two processes of one id apart.
    started: u64,
}

impl Process {
    /// `NotFound` if there is none of that id.
    pub(super) fn look(pid: Pid) -> io::Result<Self> {
        let stat = read(pid, "stat").map_err(gone)?;
        let stat = Stat::parse(&stat).ok_or_else(|| unreadable("stat"))?;
        let status = read(pid, "status").map_err(gone)?;
        let user = parse_user(&status).ok_or_else(|| unreadable("status"))?;
        let name = read(pid, "comm").map_err(gone)?.trim_end().to_owned();
        Ok(Self {
            pid,
            executable: executable(pid).unwrap_or_else(|| name.clone()),
            name,
            user,
            parent: stat.parent,
            has_ended: stat.has_ended,
            started: stat.started,
        })
    }

    /// Whether both are one process, whatever it runs.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// Whether it started after `other`, or in the same tick of the clock.
    pub(super) fn is_no_older_than(&self, other: &Self) -> bool {
        self.started >= other.started
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

/// The program may have been replaced by a newer one since; the name stays. None for other users'
/// programs, and for those that the kernel protects.
fn executable(pid: Pid) -> Option<String> {
    let link = fs::read_link(path(pid, "exe")).ok()?;
    let name = link.file_name().map(OsStr::to_string_lossy)?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
}

/// What we want of `stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    has_ended: bool,
    parent: i32,
    started: u64,
}

impl Stat {
    /// The name before these fields may hold anything, also parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        // The state is field 3, the parent field 4, the start field 22 (proc(5)).
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self {
            has_ended: matches!(state, "Z" | "X"),
            parent,
            started,
        })
    }
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
        let mut expected = Stat {
            has_ended: false,
            parent: 1,
            started: 4711,
        };
        assert_eq!(Stat::parse(&stat).as_ref(), Some(&expected));
        assert_eq!(Stat::parse("7 (a) Z 1"), None);
        assert_eq!(Stat::parse("nothing"), None);
        let ended = fields.replacen('S', "Z", 1);
        expected.has_ended = true;
        assert_eq!(Stat::parse(&format!("7 (a) {ended}")), Some(expected));
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
        let parent = rustix::process::getppid().unwrap();
        assert_eq!(own.parent, parent.as_raw_nonzero().get());
        assert!(own.is_same_as(&own) && own.is_no_older_than(&own));
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
