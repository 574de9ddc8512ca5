//! `status` as people and scripts see it, against a running agent and against what is none.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use support::{Agent, Set, agent, eventually, free_address, output};

fn status(url: &str, more: &[&str]) -> (Option<i32>, String, String) {
    output(agent("status").args(["--url", url]).args(more))
}

#[test]
fn a_ready_agent_is_exit_code_zero() {
    let set = Set::new();
    let running = Agent::run(&set, &[]);
    eventually("ready", || (running.get("/readyz").0 == 200).then_some(()));
    let url = format!("http://{}", running.http);
    let (code, page, stderr) = status(&url, &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{page}");
    assert!(page.starts_with(&format!("READY  ({url})\n")), "{page}");
    assert!(
        page.contains("CN=orders") && page.ends_with("\nWhat to do\n  Nothing.\n"),
        "{page}"
    );

    let (code, json, _) = status(&url, &["--json"]);
    assert_eq!(code, Some(0));
    assert_eq!(json, running.get("/status").1 + "\n");
}

#[test]
fn an_agent_that_is_not_ready_is_exit_code_one_and_says_what_to_do() {
    let set = Set::without_leaf();
    let running = Agent::run(&set, &["--settle", "0s"]);
    eventually("judged", || {
        (running.status()["disk"]["reason"] == "read_error").then_some(())
    });
    let url = format!("http://{}/status", running.http);
    let (code, page, _) = output(agent("status").env("NATS_MTLS_URL", url));
    assert_eq!(code, Some(1), "{page}");
    assert!(page.starts_with("NOT READY: no_material  ("), "{page}");
    assert!(
        page.contains("read_error") && page.contains("Check that the path exists"),
        "{page}"
    );
}

#[test]
fn what_is_no_agent_is_exit_code_three() {
    let (code, stdout, stderr) = status(&format!("http://{}", free_address()), &[]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(
        stderr.contains("no agent answers at http://127.0.0.1:"),
        "{stderr}"
    );

    for body in [
        "",
        "[]",
        "{\"ready\":true}",
        "{\"ready\":true,\"schema_version\":1} and more",
        "{\"ready\":\"\u{1b}[2J\",\"schema_version\":1}",
    ] {
        let (listener, url) = listen();
        let server = std::thread::spawn(move || answer(&listener, body));
        let (code, stdout, stderr) = status(&url, &["--json"]);
        server.join().unwrap();
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{body}: {stderr}");
        assert!(
            stderr.contains("the answer is no status") && !stderr.contains('\u{1b}'),
            "{stderr}"
        );
    }
}

/// The agent writes no such thing. What answers may be no agent.
#[test]
fn a_hostile_answer_cannot_write_to_the_terminal() {
    let body = "{\r\n\t\"ready\": true, \"schema_version\": 1, \"more\": [\"\u{9b}2J\u{7f}\u{202e}\", 1e400, \"ü\\u001b\"]}\n";
    let (listener, url) = listen();
    let server = std::thread::spawn(move || answer(&listener, body));
    let (code, json, stderr) = status(&url, &["--json"]);
    server.join().unwrap();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(
        json,
        "{   \"ready\": true, \"schema_version\": 1, \"more\": [\"\\u009b2J\\u007f\\u202e\", 1e400, \"ü\\u001b\"]}\n"
    );
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Answers one question with this body.
fn answer(listener: &TcpListener, body: &str) {
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
}

#[test]
fn wrong_usage_is_exit_code_two() {
    for url in [
        "https://127.0.0.1:9464",
        "127.0.0.1:9464",
        "",
        "http://u:s3cret@a",
        "http://a/x?s3cret",
    ] {
        let (code, stdout, stderr) = status(url, &[]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{url}: {stderr}");
        assert!(
            stderr.contains("--url") && stderr.contains("for example"),
            "{stderr}"
        );
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}
