//! Real programs: what they are told, and what a bad one gets away with.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use super::super::testing::news;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);
/// Of a program that is to run into it.
const SHORT: Duration = Duration::from_millis(300);

/// Without orphans: other tests in this process have children, too.
fn hook_of(config: ExecConfig) -> ExecHook {
    ExecHook::new(config, Orphans::default())
}

/// Runs a script of sh, with the folder of the set as its only argument.
async fn sh(script: &str, limit: Duration) -> (Result<String, ExecError>, TempDir) {
    let (news, folder) = news().await;
    let words = ["-c", script, "sh"].map(str::to_owned);
    let hook = hook_of(ExecConfig {
        program: "/bin/sh".to_owned(),
        arguments: words.into_iter().chain([text(folder.path())]).collect(),
        limit,
    });
    let started = Instant::now();
    let result = hook.run(&news).await;
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    (result, folder)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The process whose id is in that file is gone, at the latest in a moment.
async fn has_ended(folder: &TempDir, name: &str) {
    let pid = fs::read_to_string(folder.path().join(name)).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    let deadline = Instant::now() + LIMIT;
    // Reaped by whoever adopted it; until then it has at least ended.
    while test_kill_process(pid).is_ok() && !is_zombie(pid) {
        assert!(Instant::now() < deadline, "{pid:?} is still there");
        tokio::task::yield_now().await;
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn it_is_told_what_is_new_and_nothing_else() {
    let (news, folder) = news().await;
    let hook = hook_of(ExecConfig {
        program: "env".to_owned(),
        arguments: Vec::new(),
        limit: LIMIT,
    });
    hook.run(&news).await.unwrap();
    let (result, folder_of_script) = sh("env > $1/env", LIMIT).await;
    result.unwrap();
    let told = fs::read_to_string(folder_of_script.path().join("env")).unwrap();
    let mut names: Vec<_> = told
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.retain(|name| !INHERITED.contains(name));
    names.sort_unstable();
    // The last two are the shell's own.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    let ours = [
        "NATS_MTLS_FINGERPRINT_SHA256",
        "NATS_MTLS_GENERATION",
        "NATS_MTLS_NOT_AFTER",
        "NATS_TLS_CA",
        "NATS_TLS_CERT",
        "NATS_TLS_KEY",
    ];
    assert_eq!(names, ours);
    let key = text(&folder_of_script.path().join("tls.key"));
    assert!(told.contains(&format!("NATS_TLS_KEY={key}\n")), "{told}");
    assert!(told.contains("NATS_MTLS_GENERATION=1\n"), "{told}");
    assert!(
        told.contains("NATS_MTLS_NOT_AFTER=3000-01-01T00:00:00Z\n"),
        "{told}"
    );
    let environment = format!("{:?}", news.environment());
    assert!(environment.contains(&news.fingerprint()), "{environment}");
    drop(folder);
}

#[tokio::test]
async fn a_status_is_a_failure_with_a_number() {
    let (result, _folder) = sh("exit 3", LIMIT).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    let (result, _folder) = sh("kill -9 $$", LIMIT).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("signal: 9"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let (news, _folder) = news().await;
    for program in ["/nowhere/reload", "/"] {
        let hook = hook_of(ExecConfig {
            program: program.to_owned(),
            arguments: vec!["s3cret".to_owned()],
            limit: LIMIT,
        });
        let error = hook.run(&news).await.unwrap_err().to_string();
        assert!(
            error.starts_with(program) && !error.contains("s3cret"),
            "{error}"
        );
        assert!(!hook.target().contains("s3cret"), "{}", hook.target());
    }
}

#[tokio::test]
async fn one_that_hangs_is_ended_with_its_children() {
    let script = "echo $$ > $1/leader; sleep 600 & echo $! > $1/child; trap '' TERM HUP INT; wait; sleep 600";
    let (result, folder) = sh(script, SHORT).await;
    assert!(
        matches!(result, Err(ExecError::TooSlow { .. })),
        "{result:?}"
    );
    has_ended(&folder, "leader").await;
    has_ended(&folder, "child").await;
}

/// Nobody waits for a child that holds the pipes open, and it is not left behind.
#[tokio::test]
async fn one_that_forks_and_leaves_is_over_when_it_left() {
    let started = Instant::now();
    let (result, folder) = sh("sleep 600 & echo $! > $1/child", LIMIT).await;
    assert!(result.is_ok(), "{result:?}");
    assert!(started.elapsed() < LIMIT / 2, "{:?}", started.elapsed());
    has_ended(&folder, "child").await;
}

#[tokio::test]
async fn a_flood_is_ended_long_before_the_limit() {
    for script in ["yes", "yes >&2", "tr '\\0' x < /dev/zero"] {
        let (result, _folder) = sh(script, LIMIT * 60).await;
        assert!(
            matches!(result, Err(ExecError::Flood { .. })),
            "{script}: {result:?}"
        );
    }
}

/// More than the pipes hold, and less than a flood: it is read to the end, so it can end.
#[tokio::test]
async fn much_output_does_not_block() {
    let (result, _folder) = sh("yes | head -c 1000000; yes | head -c 1000000 >&2", LIMIT).await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn it_is_ended_if_nobody_waits_for_it_any_more() {
    let (news, folder) = news().await;
    let path = folder.path().join("leader");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; sleep 600; true",
        text(&path)
    );
    let hook = hook_of(ExecConfig {
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), script],
        limit: LIMIT * 60,
    });
    tokio::select! {
        result = hook.run(&news) => panic!("{result:?}"),
        () = async { while !path.exists() { tokio::task::yield_now().await; } } => {}
    }
    has_ended(&folder, "leader").await;
}

/// As one that hangs in a dead network mount, where even SIGKILL waits.
#[tokio::test]
async fn it_is_not_started_again_while_one_that_was_killed_has_not_ended() {
    let (news, folder) = news().await;
    let ran = folder.path().join("ran");
    let hook = hook_of(ExecConfig {
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), format!("echo > {}", text(&ran))],
        limit: LIMIT,
    });
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = Pid::from_child(&child);
    *hook.unending() = Some(pid);
    for _ in 0..2 {
        let error = hook.run(&news).await.unwrap_err().to_string();
        let number = pid.as_raw_nonzero().to_string();
        assert!(
            error.contains(&number) && error.contains("hangs"),
            "{error}"
        );
        assert!(!ran.exists());
    }
    kill_process(pid, Signal::KILL).unwrap();
    while hook.run(&news).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(ran.exists());
    assert!(child.wait().is_err(), "it was reaped already");
}

/// Certificate files are read on the blocking threads, of which there may be as few as one.
#[test]
fn a_program_that_runs_takes_no_thread_from_the_files() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (news, _folder) = news().await;
        let hook = hook_of(ExecConfig {
            program: "sleep".to_owned(),
            arguments: vec!["600".to_owned()],
            limit: LIMIT * 60,
        });
        let run = hook.run(&news);
        tokio::pin!(run);
        for _ in 0..20 {
            tokio::select! {
                result = &mut run => panic!("{result:?}"),
                read = tokio::task::spawn_blocking(|| 7) => assert_eq!(read.unwrap(), 7),
            }
        }
    });
}
