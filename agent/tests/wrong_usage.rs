//! Wrong usage of any command: exit code 2, nothing on standard output, the flag named, and an
//! example of what would have been right. Decided before anything is read or opened.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::{agent, output};

const SET: &str = "--cert c --key k --ca a";

/// Arguments, and what must be named.
fn cases() -> Vec<(String, &'static str)> {
    let mut cases = vec![
        ("bogus".to_owned(), "bogus"),
        ("--poll-interval 10s".to_owned(), "--poll-interval"),
        ("plan --max-unavailable 3".to_owned(), "--pods"),
        ("plan --pods many --max-unavailable 3".to_owned(), "--pods"),
        (
            "plan --pods 24 --max-unavailable 0".to_owned(),
            "--max-unavailable",
        ),
        (
            "plan --pods 24 --max-unavailable 3 --margin long".to_owned(),
            "--margin",
        ),
        ("status --url https://127.0.0.1:9464".to_owned(), "--url"),
        ("status --url".to_owned(), "--url"),
        ("status --yaml".to_owned(), "--yaml"),
    ];
    let of_all: &[(&str, &str)] = &[
        // A flag that does not exist, or lacks its value, or comes twice.
        ("SET --no-such-flag", "--no-such-flag"),
        ("SET --server", "--server"),
        ("SET --cert d", "--cert"),
        // Half a pair.
        ("--ca a", "--cert"),
        ("--key k --ca a", "--cert"),
        ("--cert c --key k", "--ca"),
        ("SET --server tls://a --user u", "--password-file"),
        ("SET --server tls://a --password-file p", "--user"),
        ("SET --tls-first", "--server"),
        ("SET --crl-strict", "--crl"),
        // URLs.
        ("SET --server http://a", "--server"),
        ("SET --server ws://a", "--server"),
        ("SET --server tls://a:99999", "--server"),
        ("SET --server tls://a,,tls://b:x", "--server"),
        // Durations and counts.
        (
            "SET --server tls://a --connect-timeout soon",
            "--connect-timeout",
        ),
        (
            "SET --server tls://a --connect-timeout 0s",
            "--connect-timeout",
        ),
        ("SET --server tls://a --connect-timeout -1s", "-1"),
        (
            "SET --server tls://a --connect-timeout 11y",
            "--connect-timeout",
        ),
        ("SET --clock-skew 1", "--clock-skew"),
        ("SET --log-level loud", "--log-level"),
        ("SET --log-format xml", "--log-format"),
    ];
    let of_starts: &[(&str, &str)] = &[
        ("SET --startup sometimes", "--startup"),
        (
            "SET --startup retry --startup-budget 10",
            "--startup-budget",
        ),
        (
            "SET --startup forever --startup-budget 1m",
            "--startup-budget",
        ),
        ("SET --startup-passes none", "--startup-passes"),
        ("SET --startup-passes 0", "--startup-passes"),
        ("SET --startup-margin 1x", "--startup-margin"),
    ];
    let of_run: &[(&str, &str)] = &[
        ("SET --poll-interval 0s", "--poll-interval"),
        ("SET --settle soon", "--settle"),
        ("SET --spread soon", "--spread"),
        ("SET --ping-interval 0s", "--ping-interval"),
        ("SET --drain-timeout soon", "--drain-timeout"),
        ("SET --preflight maybe", "--preflight"),
        ("SET --identity-change shrug", "--identity-change"),
        ("SET --http localhost", "--http"),
        ("SET --http 127.0.0.1:99999", "--http"),
    ];
    let mut add = |command: &str, more: &[(&str, &'static str)]| {
        cases.extend(more.iter().map(|(arguments, named)| {
            (
                format!("{command} {}", arguments.replace("SET", SET)),
                *named,
            )
        }));
    };
    for command in ["run", "check", "wait"] {
        add(command, of_all);
    }
    for command in ["run", "wait"] {
        add(command, of_starts);
    }
    add("run", of_run);
    add("check", &[("SET --min-validity soon", "--min-validity")]);
    cases
}

#[test]
fn is_named_with_an_example() {
    for (arguments, named) in cases() {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nats-mtls-agent"));
        command.env_clear().args(arguments.split(' '));
        let (code, stdout, stderr) = output(&mut command);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{arguments}: {stderr}"
        );
        let (problem, example) = stderr
            .split_once("\n  for example: ")
            .unwrap_or_else(|| panic!("{arguments}: no example in {stderr}"));
        assert!(
            problem.starts_with("error: ") && problem.contains(named),
            "{arguments}: {stderr}"
        );
        assert!(!example.trim().is_empty(), "{arguments}: {stderr}");
    }
}

#[test]
fn a_variable_is_named_like_its_flag() {
    for (variable, value, named) in [
        ("NATS_URL", "http://a", "--server (NATS_URL)"),
        ("NATS_TLS_KEY", "k", "--cert (NATS_TLS_CERT)"),
        ("NATS_MTLS_POLL_INTERVAL", "soon", "--poll-interval"),
        ("NATS_MTLS_STARTUP", "sometimes", "--startup"),
    ] {
        let mut run = agent("run");
        if variable != "NATS_TLS_KEY" {
            run.env("NATS_TLS_CERT", "c").env("NATS_TLS_KEY", "k");
        }
        let (code, _, stderr) = output(run.env("NATS_TLS_CA", "a").env(variable, value));
        assert_eq!(code, Some(2), "{variable}: {stderr}");
        assert!(
            stderr.contains(named) && stderr.contains("\n  for example: "),
            "{variable}: {stderr}"
        );
    }
}
