//! `wait` as an init container sees it, without any server: exit codes, and what is said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use std::time::{Duration, Instant};

use support::{Agent, Set, agent, free_address, output};

fn wait(set: &Set, more: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, log) = output(agent("wait").args(set.flags()).args(more));
    assert_eq!(stdout, "", "nothing to print, only to tell: {log}");
    (code, log)
}

#[test]
fn without_a_server_valid_files_are_enough_and_that_is_said() {
    let (code, log) = wait(&Set::new(), &[]);
    assert_eq!(code, Some(0), "{log}");
    for words in [
        "waiting up to 15s",
        "no --server",
        "ready after",
        "CN=orders",
        "no server was asked",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn files_that_come_late_are_waited_for() {
    let set = Set::without_leaf();
    let mut waiting = Agent::spawn(
        agent("wait")
            .args(set.flags())
            .args(["--startup-budget", "1m"]),
    );
    waiting.says("waiting up to 1m");
    set.issue("orders", 3000);
    let (status, log) = waiting.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_spent_budget_gives_the_rejection_and_advice() {
    let set = Set::new();
    set.issue("orders", 2001);
    let (code, log) = wait(&set, &["--startup-budget", "300ms"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("expired: ") && log.contains("Renew"), "{log}");
    let (code, log) = wait(&set, &["--startup", "fail-fast"]);
    assert_eq!(code, Some(1), "{log}");
}

#[test]
fn a_spent_budget_lists_each_server_with_attempts_and_cause() {
    let servers = [free_address().to_string(), free_address().to_string()];
    let list = servers.join(",");
    let (code, log) = wait(&Set::new(), &["--server", &list, "--startup-budget", "1s"]);
    assert_eq!(code, Some(3), "{log}");
    let last = log.lines().last().unwrap();
    for server in servers {
        assert!(last.contains(&format!("{server} (")), "{log}");
    }
    for words in ["attempts): ", "onnection refused", "Check host, port"] {
        assert!(last.contains(words), "{words}: {log}");
    }
}

#[test]
fn the_budget_is_computed_and_shown() {
    let server = free_address().to_string();
    let flags = [
        "--server",
        &server,
        "--connect-timeout",
        "100ms",
        "--startup-passes",
        "2",
        "--startup-margin",
        "50ms",
    ];
    let started = Instant::now();
    let (code, log) = wait(&Set::new(), &flags);
    assert_eq!(code, Some(3), "{log}");
    assert!(
        log.contains("100ms x 1 server x 2 passes + 50ms = 250ms"),
        "{log}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_signal_ends_it_at_once_with_exit_code_one() {
    for signal in ["TERM", "INT"] {
        let set = Set::without_leaf();
        let mut waiting = Agent::spawn(
            agent("wait")
                .args(set.flags())
                .args(["--startup", "forever"]),
        );
        waiting.says("waiting without a limit");
        let started = Instant::now();
        waiting.signal(signal);
        let (status, log) = waiting.end();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("stopped waiting"), "{log}");
        assert!(started.elapsed() < Duration::from_secs(1), "{log}");
    }
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "--cert"),
        (&["--key", "k", "--ca", "a"], "--cert"),
        (&["--cert", "c"], "--ca"),
        (
            &["--cert", "c", "--ca", "a", "--server", "http://a"],
            "--server",
        ),
        (&["--cert", "c", "--ca", "a", "--tls-first"], "--tls-first"),
        (
            &["--cert", "c", "--ca", "a", "--startup-budget", "soon"],
            "--startup-budget",
        ),
        (
            &[
                "--cert",
                "c",
                "--ca",
                "a",
                "--startup",
                "forever",
                "--startup-budget",
                "1m",
            ],
            "--startup-budget",
        ),
        (
            &["--cert", "c", "--ca", "a", "--startup", "never"],
            "--startup",
        ),
        (&["--cert", "c", "--ca", "a", "--http", "off"], "--http"),
    ];
    for (arguments, flag) in cases {
        let (code, stdout, stderr) = output(agent("wait").args(*arguments));
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {stderr}"
        );
        assert!(
            stderr.starts_with("error: ") && stderr.contains(flag),
            "{arguments:?}: {stderr}"
        );
    }
}

#[test]
fn the_log_is_json_if_asked_for() {
    let (_, log) = wait(&Set::new(), &["--log-format", "json"]);
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string(), "{line}");
    }
}
