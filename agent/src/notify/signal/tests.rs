//! Real processes: the one that is meant is signalled, and in doubt nobody.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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
    memory: seen::Memory,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            memory: seen::Memory::default(),
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
        let (pidfd, process) = send::find(target, &self.memory)?;
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
    send::find(&Target::PidFile(bench.pid_file()), &bench.memory).unwrap();
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

/// As with `ProtectProc=invisible` of systemd: there is nothing of it in /proc.
#[test]
fn a_process_that_is_hidden_is_not_taken_for_one_that_has_ended() {
    let mut waiter = Waiter::shell();
    let pid = rustix::process::Pid::from_child(&waiter.0);
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
        let error = send::hold(pid, |_| Err(kind.into())).unwrap_err();
        assert!(matches!(error, SignalError::Hidden { .. }), "{error}");
        let user = format!("user {}", getuid().as_raw());
        for word in [&pid.to_string(), "another user", "ProtectProc", &user] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    let ends_meanwhile = send::hold(pid, |_| {
        waiter.0.kill().unwrap();
        waiter.0.wait().unwrap();
        Err(io::ErrorKind::NotFound.into())
    });
    assert!(ends_meanwhile.unwrap().is_none());
}

#[test]
fn a_name_must_mean_one_process() {
    let bench = Bench::new();
    let target = Target::Name("only-one".to_owned());
    let error = bench.hang_up(&target).unwrap_err();
    assert!(matches!(error, SignalError::NotFound { .. }), "{error}");
    let user = format!("user {}", getuid().as_raw());
    assert!(error.to_string().contains(&user), "{error}");
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
        // A path that was mistaken may lead to a secret.
        let told = error.to_string();
        let path = bench.pid_file().display().to_string();
        let beside_the_path = told.strip_prefix(&path).unwrap();
        assert!(text.is_empty() || !beside_the_path.contains(text), "{told}");
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

/// A wrapper writes its own id and becomes the program: `echo $$ > pid; exec server`.
#[test]
fn a_wrapper_that_became_the_program_is_signalled_and_so_is_its_successor() {
    let bench = Bench::new();
    let mut program = bench.program("becomes");
    // From here on it is not busy any more: see `Waiter::start`.
    drop(Waiter::start(&mut program));
    let mut wrapper = Command::new("/bin/sh");
    let script = format!("read line; exec {:?} -c 'read line'", program.get_program());
    let mut waiter = Waiter(
        wrapper
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    bench.write(&waiter.pid().to_string());
    let target = Target::PidFile(bench.pid_file());
    let look = || send::find(&target, &bench.memory).unwrap().1.executable;
    assert_ne!(look(), "becomes");
    std::io::Write::write_all(waiter.0.stdin.as_mut().unwrap(), b"go\n").unwrap();
    while look() != "becomes" {
        std::thread::yield_now();
    }
    let next = Waiter::start(&mut bench.program("becomes"));
    bench.write(&next.pid().to_string());
    bench.by_file().unwrap();
    assert_eq!(next.signal(), Some(1));
    assert!(waiter.is_alive());
}

/// A stale file names a process of somebody else until the right one writes it.
#[test]
fn who_was_refused_is_not_learned() {
    const NOBODY: u32 = 65534;
    let bench = Bench::new();
    let stranger = getuid().is_root().then(|| {
        let mut command = bench.program("older");
        chown(bench.folder.path(), Some(NOBODY), None).unwrap();
        Waiter::start(command.uid(NOBODY))
    });
    bench.write(&stranger.as_ref().map_or(1, Waiter::pid).to_string());
    bench.by_file().unwrap_err();
    let right = Waiter::start(&mut bench.program("right"));
    bench.write(&right.pid().to_string());
    bench.by_file().unwrap();
    assert_eq!(right.signal(), Some(1));
}

/// As if the clock was set forward by a day: the file's time stays behind.
#[test]
fn a_process_that_was_found_once_stays_the_right_one_when_the_clock_is_set() {
    let bench = Bench::new();
    let waiter = Waiter::shell();
    bench.write(&waiter.pid().to_string());
    send::find(&Target::PidFile(bench.pid_file()), &bench.memory).unwrap();
    let set_back = || {
        let file = fs::File::options().write(true).open(bench.pid_file());
        let day = Duration::from_secs(24 * 60 * 60);
        file.unwrap().set_modified(SystemTime::now() - day).unwrap();
    };
    set_back();
    bench.by_file().unwrap();
    assert_eq!(waiter.signal(), Some(1));
    // Only that one: another of the same program is measured.
    let mut other = Waiter::shell();
    bench.write(&other.pid().to_string());
    set_back();
    let error = bench.by_file().unwrap_err();
    assert!(matches!(error, SignalError::Recycled { .. }), "{error}");
    assert!(error.to_string().contains("clock"), "{error}");
    assert!(other.is_alive());
}

/// `python3` is a link to `python3.11`, and a script has a name of its own.
#[test]
fn a_process_is_found_by_the_name_of_its_link_or_script_if_none_runs_that_program() {
    let bench = Bench::new();
    let at = |name: &str| bench.folder.path().join(name);
    drop(bench.program("interpreter"));
    std::os::unix::fs::symlink(at("interpreter"), at("a-link")).unwrap();
    let linked = Waiter::start(&mut Command::new(at("a-link")));
    fs::write(
        at("a-script"),
        format!("#!{}\nread line\n", at("interpreter").display()),
    )
    .unwrap();
    fs::set_permissions(at("a-script"), fs::Permissions::from_mode(0o755)).unwrap();
    let script = Waiter::start(&mut Command::new(at("a-script")));
    for (name, waiter) in [("a-link", linked), ("a-script", script)] {
        bench.hang_up(&Target::Name(name.to_owned())).unwrap();
        assert_eq!(waiter.signal(), Some(1), "{name}");
    }
}

#[test]
fn a_script_with_the_name_of_the_program_that_it_starts_is_never_taken_for_it() {
    let bench = Bench::new();
    let name = Target::Name("the-server".to_owned());
    let scripts = tempfile::tempdir().unwrap();
    let path = scripts.path().join("the-server");
    fs::write(&path, "#!/bin/sh\nread line\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut script = Waiter::start(&mut Command::new(&path));
    let server = Waiter::start(&mut bench.program("the-server"));
    bench.hang_up(&name).unwrap();
    assert_eq!(server.signal(), Some(1));
    // Being restarted: nobody is there for a moment.
    let error = bench.hang_up(&name).unwrap_err();
    assert!(matches!(error, SignalError::NotFound { .. }), "{error}");
    assert!(script.is_alive());
}

/// As in a pid file on a mount that hangs.
#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "it stands for what hangs")]
async fn a_search_that_hangs_has_a_limit_and_is_not_begun_again_meanwhile() {
    let bench = Bench::new();
    let mut waiter = Waiter::shell();
    bench.write(&waiter.pid().to_string());
    let hook = SignalHook::new(SignalConfig {
        signal: Signal::HUP,
        name: "HUP",
        target: Target::PidFile(bench.pid_file()),
        limit: Duration::from_millis(50),
    });
    let hanging = hook.memory.lock();
    let late = hook.run().await.unwrap_err().to_string();
    assert!(late.contains("no answer within 50ms"), "{late}");
    let busy = hook.run().await.unwrap_err().to_string();
    assert!(busy.contains("earlier attempt"), "{busy}");
    assert!(waiter.is_alive(), "no signal came late");
    drop(hanging);
    while hook.run().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(waiter.signal(), Some(1));
}
