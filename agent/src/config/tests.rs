//! Command lines that make sense, and the flag that is named when they do not.

use clap::Parser as _;

use nats_mtls::StartupPolicy;

use super::*;
use crate::args::{Cli, Command};

const SET: [&str; 6] = ["--cert", "c", "--key", "k", "--ca", "a"];

fn run(arguments: &[&str]) -> Result<RunConfig, ConfigError> {
    let all = ["agent", "run"].iter().chain(arguments);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Run(args) => RunConfig::new(&args),
        other => unreachable!("run was asked for, not {other:?}"),
    }
}

fn run_set(arguments: &[&str]) -> Result<RunConfig, ConfigError> {
    run(&[&SET, arguments].concat())
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = run_set(&["--server", "tls://a:4222,tls://b:4222"]).unwrap();
    assert_eq!(config.files, Files::new("c", "k", "a"));
    assert_eq!(config.poll_interval, Duration::from_secs(10));
    assert_eq!(config.settle, Duration::from_secs(10));
    assert_eq!(config.spread, Duration::from_secs(1));
    assert_eq!(config.drain_timeout, Duration::from_secs(2));
    assert_eq!(config.http, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(config.startup.policy, StartupPolicy::RetryForever);
    assert_eq!(config.startup.budget.total(), Duration::from_secs(45));
    assert!(config.preflight);
    assert!(config.relay.is_none());
    let relay = ["--server", "tls://a:4222", "--listen", "127.0.0.1:4222"];
    let config = run_set(&relay).unwrap();
    assert_eq!(config.drain_timeout, Duration::from_secs(25));
    assert!(config.relay.is_some());
    let config = run_set(&[&relay[..], &["--drain-timeout", "3s"]].concat()).unwrap();
    assert_eq!(config.drain_timeout, Duration::from_secs(3));
}

#[test]
fn a_budget_is_computed_or_given() {
    let policy = |more: &[&str]| run_set(&[&["--startup", "retry"], more].concat());
    let three = "a,b,c";
    let computed = policy(&["--server", three, "--connect-timeout", "10s"]).unwrap();
    let seconds = |seconds| StartupPolicy::RetryFor(Duration::from_secs(seconds));
    assert_eq!(computed.startup.policy, seconds(105));
    let given = policy(&["--startup-budget", "2m"]).unwrap();
    assert_eq!(given.startup.policy, seconds(120));
    let fail_fast = run_set(&["--startup", "fail-fast"]).unwrap();
    assert_eq!(fail_fast.startup.policy, StartupPolicy::FailFast);
}

#[test]
fn wrong_usage_names_the_flag() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "--cert", "missing"),
        (&["--key", "k", "--ca", "a"], "--cert", "key is given"),
        (&["--cert", "c", "--key", "k"], "--ca", "never used"),
    ];
    for (arguments, flag, problem) in cases {
        let error = run(arguments).unwrap_err();
        assert!(error.flag.starts_with(flag), "{arguments:?}: {error}");
        assert!(error.problem.contains(problem), "{arguments:?}: {error}");
    }
    let cases: &[(&[&str], &str, &str)] = &[
        (&["--crl-strict"], "--crl-strict", "revocation lists"),
        (&["--server", ","], "--server", "no server given"),
        (&["--server", "ws://a"], "--server", "WebSocket"),
        (&["--server", "http://a"], "--server", "not a NATS URL"),
        (&["--server", "tls://a:0x"], "--server", "not a NATS URL"),
        (
            &["--server", "a", "--tls-name", "b c"],
            "--tls-name",
            "neither",
        ),
        (&["--tls-name", "b"], "--tls-name", "without --server"),
        (&["--tls-first"], "--tls-first", "without --server"),
        (
            &["--server", "a", "--user", "u"],
            "--user",
            "--password-file",
        ),
        (
            &["--server", "a", "--password-file", "p"],
            "--password-file",
            "--user",
        ),
        (
            &["--server", "a", "--creds", "/nowhere/c"],
            "--creds",
            "/nowhere/c",
        ),
        (
            &["--server", "a", "--creds", "c", "--token-file", "t"],
            "authentication",
            "--creds and --token-file",
        ),
        (
            &["--server", "a", "--component", " "],
            "--component",
            "empty",
        ),
        (&["--poll-interval", "0s"], "--poll-interval", "zero"),
        (&["--settle", "soon"], "--settle", "not a duration"),
        (&["--http", "localhost"], "--http", "`off`"),
        (&["--startup-budget", "1m"], "--startup-budget", "retry"),
        (
            &["--usage", "server", "--server", "a"],
            "--usage",
            "contradict",
        ),
        (&["--publish-mode", "0600"], "--publish-mode", "without"),
        (&["--publish-group", "0"], "--publish-group", "without"),
        (&["--publish-dir", "."], "--publish-dir", "is read from it"),
        (
            &["--listen", "127.0.0.1:4222"],
            "--listen",
            "needs --server",
        ),
        (
            &["--server", "a", "--listen", "localhost:4222"],
            "--listen",
            "not an IP address",
        ),
        (
            &["--server", "a", "--listen", "0.0.0.0:4222"],
            "--listen",
            "not loopback",
        ),
        (&["--unsafe-listen"], "--unsafe-listen", "without --listen"),
        (
            &["--max-sessions", "7"],
            "--max-sessions",
            "without --listen",
        ),
        (
            &["--server", "a", "--rotation", "reconnect"],
            "--rotation",
            "without --listen",
        ),
        (
            &[
                "--server",
                "a",
                "--listen",
                "127.0.0.1:1",
                "--local-user",
                "u",
            ],
            "--local-user",
            "--local-password-file",
        ),
        (
            &["--local-password-file", "p"],
            "--local-password-file",
            "--local-user",
        ),
        (
            &["--local-user", "u", "--local-token-file", "t"],
            "local credentials",
            "use one",
        ),
        (
            &["--local-token-file", "/nowhere/t"],
            "--local-token-file",
            "/nowhere/t",
        ),
        (
            &[
                "--server",
                "a",
                "--listen",
                "127.0.0.1:1",
                "--route-wait",
                "x",
            ],
            "--route-wait",
            "not a duration",
        ),
        (
            &["--on-rotate-signal", "HUP"],
            "--on-rotate-signal",
            "needs --pid-file or --process-name",
        ),
        (
            &["--on-rotate-signal", "STOP", "--process-name", "a"],
            "--on-rotate-signal",
            "HUP USR1 USR2",
        ),
        (
            &["--on-rotate-signal", "1", "--process-name", "a"],
            "--on-rotate-signal",
            "none of",
        ),
        (
            &["--on-rotate-signal", "HUP", "--process-name", "/bin/a"],
            "--process-name",
            "without a path",
        ),
        (
            &["--process-name", "a"],
            "--process-name",
            "without --on-rotate-signal",
        ),
        (
            &["--on-rotate-exec", "  "],
            "--on-rotate-exec",
            "no program",
        ),
        (&["--on-rotate-exec", "a 'b"], "--on-rotate-exec", "quote"),
        (
            &["--on-rotate-timeout", "0s"],
            "--on-rotate-timeout",
            "zero",
        ),
        (
            &["--confirm-server", "a:1"],
            "--confirm-server",
            "--usage server",
        ),
        (
            &[
                "--usage",
                "server",
                "--confirm-server",
                "a:1",
                "--confirm-url",
                "http://a",
            ],
            "--confirm-server",
            "one way",
        ),
        (&["--confirm-url", "http://a"], "--confirm-url", "--server"),
        (
            &["--confirm-url", "http://a,", "--confirm-name", "orders"],
            "--confirm-url",
            "not a URL",
        ),
        (
            &[
                "--usage",
                "server",
                "--confirm-url",
                "http://a",
                "--confirm-url",
                "http://b",
            ],
            "--confirm-url",
            "several",
        ),
        (
            &["--confirm-name", "orders"],
            "--confirm-name",
            "--confirm-url",
        ),
        (
            &["--confirm-url", "http://a", "--confirm-name", " "],
            "--confirm-name",
            "empty",
        ),
    ];
    for (arguments, flag, problem) in cases {
        let error = run_set(arguments).unwrap_err();
        assert!(error.flag.starts_with(flag), "{arguments:?}: {error}");
        assert!(error.problem.contains(problem), "{arguments:?}: {error}");
        assert!(error.to_string().contains("for example: "));
    }
}

#[test]
fn secrets_are_read_and_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    std::fs::write(&path, "s3cret\n").unwrap();
    let path = path.to_str().unwrap();
    let flags = ["--user", "orders", "--password-file", path];
    let config = run_set(&[&["--server", "tls://a"], &flags[..]].concat()).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));

    let relay = ["--server", "a", "--listen", "0.0.0.0:1"];
    let local = ["--local-user", "u", "--local-password-file", path];
    let config = run_set(&[relay, local].concat()).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    let config = run_set(&[&relay[..], &["--local-token-file", path]].concat()).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));

    let url = "tls://orders:s3cret@a";
    let config = run_set(&["--server", url]).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    let error = run_set(&[&["--server", url], &flags[..]].concat()).unwrap_err();
    assert!(error.problem.contains("given twice"), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
    let error = run_set(&["--server", "tls://orders:s3cret@a:b"]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn a_command_is_split_like_sh_does_it_and_nothing_is_expanded() {
    let exec = |text: &str| {
        let config = run_set(&["--on-rotate-exec", text]).unwrap();
        let exec = config.notify.unwrap().exec.unwrap();
        (exec.program, exec.arguments)
    };
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let cases: [(&str, &str, &[&str]); 3] = [
        ("/bin/reload", "/bin/reload", &[]),
        ("a 'b c'  \"d e\" f\\ g ''", "a", &["b c", "d e", "f g", ""]),
        (
            "a $HOME `b` $(c) *; d | e > f",
            "a",
            &["$HOME", "`b`", "$(c)", "*;", "d", "|", "e", ">", "f"],
        ),
    ];
    for (text, program, arguments) in cases {
        assert_eq!(exec(text), (program.to_owned(), words(arguments)), "{text}");
    }
}

#[test]
fn who_reads_the_published_set_is_told_where_it_is() {
    let config = run_set(&["--publish-dir", "/run/nats-tls"]).unwrap();
    assert_eq!(config.paths.key, PathBuf::from("/run/nats-tls/tls.key"));
    let config = run(&["--cert", "/a/bundle.pem", "--ca", "/a/ca.crt"]).unwrap();
    assert_eq!(config.paths.key, PathBuf::from("/a/bundle.pem"));
    let config = run_set(&[]).unwrap();
    assert!(config.paths.certificate.is_absolute());
}
