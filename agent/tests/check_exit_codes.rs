//! `check` as scripts see it: exit codes, and what is printed where.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;
use support::{Set, agent, free_address, output, text};

fn check(set: &Set, more: &[&str]) -> (Option<i32>, String, String) {
    output(agent("check").args(set.flags()).args(more))
}

fn json(set: &Set, more: &[&str]) -> (Option<i32>, Value) {
    let (code, stdout, stderr) = check(set, &[&["--json"], more].concat());
    assert_eq!(stderr, "");
    (code, serde_json::from_str(&stdout).unwrap())
}

#[test]
fn a_good_set_is_accepted() {
    let set = Set::new();
    let (code, stdout, stderr) = check(&set, &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.ends_with("\nACCEPTED: the files are good; no server was asked\n"));
    let (code, document) = json(&set, &["--min-validity", "7d"]);
    assert_eq!(code, Some(0));
    assert_eq!(document["accepted"], true);
    assert_eq!(document["reason"], Value::Null);
    assert_eq!(document["leaf"]["subject"], "CN=orders");
    assert_eq!(document["leaf"]["nats_users"][0], "orders");
    assert_eq!(document["chain"].as_array().unwrap().len(), 1);
    assert_eq!(document["roots"][0]["subject"], "CN=test root");
    assert_eq!(document["servers"], Value::Array(Vec::new()));
    assert_eq!(document["min_validity_ok"], true);
}

#[test]
fn the_environment_is_as_good_as_flags() {
    let set = Set::new();
    let (code, stdout, _) = output(
        agent("check")
            .env("NATS_TLS_CERT", set.path("tls.crt"))
            .env("NATS_TLS_KEY", set.path("tls.key"))
            .env("NATS_TLS_CA", set.path("ca.crt"))
            .env("NATS_TLS_FIRST", "off"),
    );
    assert_eq!(code, Some(0), "{stdout}");
}

#[test]
fn a_bad_set_is_refused_with_its_reason() {
    let set = Set::new();
    set.issue("orders", 2001);
    let (code, document) = json(&set, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(document["accepted"], false);
    assert_eq!(document["reason"], "expired");
    assert!(document["advice"].as_str().unwrap().starts_with("Renew"));
    assert_eq!(document["leaf"]["subject"], "CN=orders");

    fs::write(set.path("tls.crt"), "").unwrap();
    let (code, stdout, _) = check(&set, &[]);
    assert_eq!(code, Some(1));
    assert!(stdout.ends_with("\nREFUSED: no_certificate\n"), "{stdout}");
    fs::remove_file(set.path("tls.crt")).unwrap();
    assert_eq!(json(&set, &[]).1["reason"], "read_error");
}

#[test]
fn the_certificate_of_a_server_is_judged_as_one() {
    let set = Set::new();
    set.issue_for("nats", 3000, ExtendedKeyUsagePurpose::ServerAuth);
    let (code, document) = json(&set, &[]);
    assert_eq!(
        (code, &document["reason"]),
        (Some(1), &"wrong_usage".into())
    );
    let detail = document["detail"].as_str().unwrap();
    assert!(detail.contains("not for clientAuth"), "{detail}");

    assert_eq!(json(&set, &["--usage", "server"]).0, Some(0));
    let (code, picture, _) = check(&set, &["--usage", "server"]);
    assert_eq!(code, Some(0));
    assert!(!picture.contains("NATS user"), "{picture}");

    set.issue("orders", 3000);
    let (code, document) = json(&set, &["--usage", "server"]);
    assert_eq!(
        (code, &document["reason"]),
        (Some(1), &"wrong_usage".into())
    );
    let detail = document["detail"].as_str().unwrap();
    assert!(detail.contains("not for serverAuth"), "{detail}");
    assert!(document["advice"].as_str().unwrap().contains("serverAuth"));

    let (code, _, stderr) = check(
        &set,
        &["--usage", "server", "--server", "tls://127.0.0.1:1"],
    );
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("--usage") && stderr.contains("contradict"),
        "{stderr}"
    );
}

#[test]
fn a_set_that_ends_too_soon_is_refused() {
    let set = Set::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let year = 1970 + i32::try_from(now.as_secs() / 31_556_952).unwrap();
    set.issue("orders", year + 3);
    let (code, document) = json(&set, &["--min-validity", "1y"]);
    assert_eq!(
        (code, &document["min_validity_ok"]),
        (Some(0), &Value::Bool(true))
    );
    let (code, document) = json(&set, &["--min-validity", "4y"]);
    assert_eq!(code, Some(1));
    // A script that reads only this must not go on.
    assert_eq!(document["accepted"], false);
    assert_eq!(document["reason"], Value::Null);
    assert_eq!(document["min_validity_ok"], false);
}

#[test]
fn a_server_that_does_not_answer_is_exit_code_three() {
    let set = Set::new();
    let server = format!("tls://orders:s3cret@{}", free_address());
    let (code, stdout, stderr) = check(&set, &["--server", &server]);
    assert_eq!(code, Some(3), "{stdout}{stderr}");
    assert!(stdout.contains("no answer: "), "{stdout}");
    assert!(!format!("{stdout}{stderr}").contains("s3cret"));
    let (_, document) = json(&set, &["--server", &server]);
    assert_eq!(document["servers"][0]["result"], "unreachable");
    assert!(!document.to_string().contains("s3cret"));
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let set = Set::new();
    let key = text(&set.path("tls.key"));
    let cases: &[&[&str]] = &[
        &[],
        &["--key", &key],
        &["--cert", "c", "--ca", "a", "--server", "ws://a"],
        &["--cert", "c", "--ca", "a", "--min-validity", "soon"],
        &["--cert", "c", "--ca", "a", "--log-level", "loud"],
        &["--no-such-flag"],
        &["tls://orders:s3cret@a"],
    ];
    for arguments in cases {
        let (code, stdout, stderr) = output(agent("check").args(*arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}

#[test]
fn help_never_shows_what_the_environment_holds() {
    for command in ["run", "check", "wait", "status", "plan"] {
        let mut help = agent(command);
        help.arg("--help").env("NATS_URL", "tls://orders:s3cret@a");
        let (code, stdout, _) = output(help.env("NATS_MTLS_USER", "s3cret"));
        assert_eq!(code, Some(0));
        assert!(stdout.contains("Exit codes"), "{stdout}");
        assert!(!stdout.contains("s3cret"));
    }
}

/// What a template leaves behind where a value is optional.
#[test]
fn an_empty_variable_counts_as_unset() {
    let set = Set::new();
    let mut command = agent("check");
    command.args(set.flags());
    for variable in [
        "NATS_URL",
        "NATS_TLS_FIRST",
        "NATS_MTLS_CRL",
        "NATS_MTLS_CREDS",
    ] {
        command.env(variable, "");
    }
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}
