//! Real processes: the one that is meant is signalled, and in doubt nobody.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, WaitId, WaitIdOptions, getuid, waitid};
use tempfile::TempDir;

use super::*;

/// A program that waits until its standard input ends or a signal ends it.
struct Waiter(Child);

impl Waiter {
    fn start(command: &mut Command) -> Self {
        // A copy that was just written is busy as long as some fork of this test holds it open.
        for _ in 0..1000 {
            match command
                .args(["-c", "read line"])
                .stdin(Stdio::piped())
                .spawn()
            {
                Ok(child) => return Self(child),
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("busy for ever");
    }

    fn shell() -> Self {
        Self::start(&mut Command::new("/bin/sh"))
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Which signal ended it.
    fn signal(mut self) -> Option<i32> {
        self.0.wait().unwrap().signal()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct Bench {
    folder: TempDir,
    program: OnceLock<String>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            program: OnceLock::new(),
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("a.pid")
    }

    fn write(&self, text: &str) {
        fs::write(self.pid_file(), text).unwrap();
    }

    /// Finds and signals as the hook does.
    fn hang_up(&self, target: &Target) -> Result<(), SignalError> {
        let (pidfd, process) = send::find(target, &self.program)?;
        send::signal(&pidfd, &process, Signal::HUP)
    }

    fn by_file(&self) -> Result<(), SignalError> {
        self.hang_up(&Target::PidFile(self.pid_file()))
    }

    /// The shell under a name that no other test has.
    fn program(&self, name: &str) -> Command {
        let path = self.folder.path().join(name);
        if !path.exists() {
            fs::copy("/bin/sh", &path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new(path);
        command.arg0("sh");
        command
    }
}

#[test]
fn the_process_of_a_pid_file_is_signalled() {
    let bench = Bench::new();
    let waiter = Waiter::shell();
    bench.write(&format!("{}\n", waiter.pid()));
    bench.by_file().unwrap();
    assert_eq!(waiter.signal(), Some(1));
}

#[test]
fn a_pid_file_that_outlived_its_process_signals_nobody() {
    let bench = Bench::new();
    let mut waiter = Waiter::shell();
    bench.write(&waiter.pid().to_string());
    waiter.0.kill().unwrap();
    // Ended, and still in the table: its parent, this test, has not looked.
    waitid(
        WaitId::Pid(rustix::process::Pid::from_child(&waiter.0)),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )
    .unwrap();
    assert!(matches!(bench.by_file(), Err(SignalError::Ended { .. })));
    waiter.0.wait().unwrap();
    let error = bench.by_file().unwrap_err();
    assert!(matches!(error, SignalError::Stale { .. }), "{error}");
    assert!(error.to_string().contains("a.pid"), "{error}");
}

/// What a recycled id looks like: alive, and younger than the file.
#[test]
fn a_process_that_is_younger_than_the_pid_file_is_not_signalled() {
    let bench = Bench::new();
    let mut waiter = Waiter::shell();
    bench.write(&waiter.pid().to_string());
    let file = fs::File::options()
        .write(true)
        .open(bench.pid_file())
        .unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    let error = bench.by_file().unwrap_err();
    assert!(matches!(error, SignalError::Recycled { .. }), "{error}");
    assert!(waiter.is_alive());
    file.set_modified(SystemTime::now()).unwrap();
    bench.by_file().unwrap();
    assert_eq!(waiter.signal(), Some(1));
}

#[test]
fn a_pid_file_that_leads_to_another_program_signals_nobody() {
    let bench = Bench::new();
    let first = Waiter::start(&mut bench.program("first"));
    bench.write(&first.pid().to_string());
    send::find(&Target::PidFile(bench.pid_file()), &bench.program).unwrap();
    let mut second = Waiter::start(&mut bench.program("second"));
    bench.write(&second.pid().to_string());
    let error = bench.by_file().unwrap_err().to_string();
    assert!(error.contains("second and not first"), "{error}");
    assert!(second.is_alive());
    // The same program started anew is right.
    let again = Waiter::start(&mut bench.program("first"));
    bench.write(&again.pid().to_string());
    bench.by_file().unwrap();
    assert_eq!(again.signal(), Some(1));
}

#[test]
fn a_process_of_another_user_is_not_signalled() {
    const NOBODY: u32 = 65534;
    let bench = Bench::new();
    // Root can start somebody else's process; everybody else finds one in process 1.
    let mut other = getuid().is_root().then(|| {
        let mut command = bench.program("of-nobody");
        chown(bench.folder.path(), Some(NOBODY), None).unwrap();
        Waiter::start(command.uid(NOBODY))
    });
    let pid = other.as_ref().map_or(1, Waiter::pid);
    bench.write(&pid.to_string());
    let error = bench.by_file().unwrap_err();
    assert!(matches!(error, SignalError::OtherUser { .. }), "{error}");
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    if let Some(other) = &mut other {
        let by_name = bench.hang_up(&Target::Name("of-nobody".to_owned()));
        assert!(matches!(by_name, Err(SignalError::OtherUser { .. })));
        assert!(other.is_alive());
    }
}

#[test]
fn a_name_must_mean_one_process() {
    let bench = Bench::new();
    let target = Target::Name("only-one".to_owned());
    let error = bench.hang_up(&target).unwrap_err();
    assert!(matches!(error, SignalError::NotFound { .. }), "{error}");
    let mut first = Waiter::start(&mut bench.program("only-one"));
    let mut second = Waiter::start(&mut bench.program("only-one"));
    let error = bench.hang_up(&target).unwrap_err().to_string();
    for pid in [first.pid(), second.pid()] {
        assert!(error.contains(&pid.to_string()), "{error}");
    }
    assert!(error.contains("--pid-file"), "{error}");
    assert!(first.is_alive() && second.is_alive());
    drop(second);
    bench.hang_up(&target).unwrap();
    assert_eq!(first.signal(), Some(1));
}

#[test]
fn what_is_no_pid_file_is_named() {
    let bench = Bench::new();
    let missing = bench.by_file().unwrap_err().to_string();
    assert!(
        missing.contains("a.pid") && missing.contains("cannot read"),
        "{missing}"
    );
    for text in ["", "abc", "-1", "0", "1 2", &"9".repeat(1000)] {
        bench.write(text);
        let error = bench.by_file().unwrap_err();
        assert!(
            matches!(error, SignalError::NoPid { .. }),
            "{text}: {error}"
        );
    }
    bench.write(&std::process::id().to_string());
    let error = bench.by_file().unwrap_err();
    assert!(matches!(error, SignalError::Ourselves { .. }), "{error}");
    fs::remove_file(bench.pid_file()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.pid_file(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let error = bench.by_file().unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}
