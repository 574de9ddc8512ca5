//! Whole pages at a fixed time, compared as text: what a person reads is what is tested.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// 2026-06-01T12:00:00Z
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(20_605 * 86_400 + 43_200)
}

fn leaf(name: &str, digit: &str, until: &str) -> Value {
    json!({
        "subject": format!("CN={name}"), "fingerprint_sha256": digit.repeat(64),
        "not_before": "2026-04-01T00:00:00Z", "not_after": until,
    })
}

/// Ready, in step, one connection.
fn good() -> Value {
    let leaf = leaf("orders", "a", "2026-07-01T00:00:00Z");
    json!({
        "schema_version": 1, "generation": 3, "rolled_back_from": null, "ready": true, "reason": null,
        "warnings": [],
        "active": { "since": "2026-06-01T09:00:00Z", "leaf": leaf, "chain": [leaf], "roots": [] },
        "disk": { "verdict": "active", "reason": null, "detail": null, "differs_since": null, "leaf": leaf },
        "last_reload": { "result": "published", "reason": null, "at": "2026-06-01T09:00:00Z" },
        "last_rejection": null, "last_preflight": null,
        "watcher": { "mode": "inotify" },
        "connections": [{
            "name": "orders-agent", "server": "a:4222", "state": "connected", "generation": 3,
            "presented": true, "since": "2026-06-01T09:00:00Z", "last_error": "a:4222: timed out",
        }],
        "relay": null, "added_later": { "deep": [1] },
    })
}

fn page(document: &Value) -> String {
    let document = serde_json::from_value(document.clone()).unwrap();
    draw(&document, "http://127.0.0.1:9464", now())
}

fn to_do(document: &Value) -> String {
    let page = page(document);
    page.split_once("\nWhat to do\n").unwrap().1.to_owned()
}

#[test]
fn all_is_well() {
    let expected = "\
READY  (http://127.0.0.1:9464)

Certificate
  disk    aaaaaaaaaaaa  CN=orders  expires in 29 days (2026-07-01T00:00:00Z); the same as active
  active  aaaaaaaaaaaa  CN=orders  expires in 29 days (2026-07-01T00:00:00Z); generation 3, published 3 hours ago
  wire    aaaaaaaaaaaa  CN=orders  expires in 29 days (2026-07-01T00:00:00Z); orders-agent: the same as active

Connections
  orders-agent  connected to a:4222, since 3 hours ago

Reloads
  last reload  published, 3 hours ago
  watcher      inotify

What to do
  Nothing.
";
    assert_eq!(page(&good()), expected);
}

/// What an agent says a while after it published, with a bad set on its disk since.
#[test]
fn a_later_outcome_does_not_hide_since_when_a_set_is_active() {
    for result in ["rejected", "unchanged"] {
        let mut document = good();
        document["last_reload"] =
            json!({ "result": result, "reason": null, "at": "2026-06-01T11:59:00Z" });
        let page = page(&document);
        assert!(
            page.contains("generation 3, published 3 hours ago"),
            "{page}"
        );
    }
}

#[test]
fn other_processes_are_shown_with_what_to_do() {
    let mut document = good();
    let at = "2026-06-01T11:50:00Z";
    document["notify"] = json!({
        "signal": {
            "target": "SIGHUP to the process of a.pid", "state": "idle", "generation": 3, "result": "ok",
            "reason": null, "at": at, "attempts": 1,
        },
        "exec": {
            "target": "/bin/reload", "state": "retrying", "generation": 3, "result": "failed",
            "reason": "/bin/reload ended with exit status: 1\u{1b}[2J", "at": at, "attempts": 4,
        },
        "http": { "target": "POST to http://127.0.0.1", "state": "idle", "result": null },
    });
    document["confirm"] = json!({
        "target": "server", "generation": 3, "result": "not_confirmed", "reason": "a:4222 presents bb",
        "at": at,
    });
    let page = page(&document);
    let expected = "
Other processes
  signal   SIGHUP to the process of a.pid: ok, generation 3, 10 minutes ago
  exec     /bin/reload: FAILED, attempt 4, generation 3, 10 minutes ago
  http     POST to http://127.0.0.1: nothing to tell yet
  confirm  the server: NOT CONFIRMED, generation 3, 10 minutes ago

What to do
  /bin/reload ended with exit status: 1\u{fffd}[2J
  a:4222 presents bb: read the log of whoever uses the certificate; it must read the very files, and read them again when it is told.
";
    assert!(page.ends_with(expected), "{page}");
}

#[test]
fn three_truths_that_differ_are_told_apart() {
    let mut document = good();
    document["disk"] = json!({
        "verdict": "rejected", "reason": "key_mismatch", "detail": "tls.key: not the key of tls.crt",
        "differs_since": "2026-06-01T11:50:00Z", "leaf": leaf("orders", "b", "2026-09-01T00:00:00Z"),
    });
    document["last_rejection"] = json!({
        "reason": "key_mismatch", "detail": "tls.key: not the key of tls.crt", "advice": "x",
        "at": "2026-06-01T11:50:00Z",
    });
    document["connections"][0]["generation"] = json!(2);
    document["warnings"] = json!(["key_changed", "from_the_future"]);
    let page = page(&document);
    for line in [
        "  disk    bbbbbbbbbbbb  CN=orders  expires in 91 days (2026-09-01T00:00:00Z); REJECTED key_mismatch, differs since 10 minutes ago",
        "  wire    generation 2; orders-agent: OLDER than active, not moved yet",
        "  last rejection  key_mismatch, 10 minutes ago: tls.key: not the key of tls.crt",
        "  from_the_future: see the documentation",
    ] {
        assert!(
            page.lines().any(|printed| printed == line),
            "{line}\n{page}"
        );
    }
    let advice = nats_mtls::material::Reason::KeyMismatch.advice();
    let (_, steps) = page.split_once("\nWhat to do\n").unwrap();
    assert!(
        steps.starts_with(&format!("  tls.key: not the key of tls.crt. {advice} ")),
        "{steps}"
    );
    assert!(
        steps.contains("Until then the active certificate serves."),
        "{steps}"
    );
    assert!(steps.contains("move of the older connections"), "{steps}");
}

#[test]
fn what_to_do_follows_from_what_is_wrong() {
    let cases = [
        (json!({ "reason": "connecting" }), "Check host, port"),
        (json!({ "reason": "draining" }), "the process is ending"),
        (json!({ "reason": "closed" }), "Restart the process"),
        (json!({ "reason": "expired" }), "Renew the certificate now"),
        (
            json!({ "reason": "from_the_future" }),
            "log for from_the_future",
        ),
        (
            json!({ "reason": "no_material", "active": null, "disk": {} }),
            "were not judged yet",
        ),
    ];
    for (changes, words) in cases {
        let mut document = good();
        document["ready"] = json!(false);
        for (key, value) in changes.as_object().unwrap() {
            document[key] = value.clone();
        }
        assert!(
            to_do(&document).contains(words),
            "{changes}: {}",
            to_do(&document)
        );
    }
    let mut refused = good();
    refused["ready"] = json!(false);
    refused["reason"] = json!("disconnected");
    refused["connections"][0]["state"] = json!("disconnected");
    refused["connections"][0]["last_error"] =
        json!("a:4222: the server refused the client certificate: certificate expired");
    assert!(to_do(&refused).contains("refuses"), "{}", to_do(&refused));
    refused["connections"][0]["failed_attempts"] = json!(7);
    assert!(page(&refused).contains("orders-agent  DISCONNECTED to a:4222"));
    assert!(page(&refused).contains("  7 failed attempts, the last: a:4222: the server refused"));

    let mut soon = good();
    soon["active"]["chain"][0]["not_after"] = json!("2026-06-03T00:00:00Z");
    assert!(to_do(&soon).contains("Renew CN=orders"), "{}", to_do(&soon));
    let mut polling = good();
    polling["watcher"]["mode"] = json!("poll");
    assert!(to_do(&polling).contains("fs.inotify"));
    let mut pending = good();
    pending["disk"]["verdict"] = json!("pending");
    assert!(to_do(&pending).contains("Wait for a server"));
}

#[test]
fn the_least_document_makes_a_page() {
    let page = page(&json!({ "schema_version": 7, "ready": false }));
    assert!(page.starts_with("NOT READY  ("), "{page}");
    assert!(
        page.contains("The agent is newer than this command"),
        "{page}"
    );
    assert!(page.contains("  wire    nothing; no connection"), "{page}");
}

#[test]
fn nothing_that_others_wrote_reaches_the_terminal_as_it_is() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\n\u{202e}".repeat(5000);
    let mut document = good();
    for path in [
        "/reason",
        "/warnings",
        "/active/leaf/subject",
        "/active/leaf/fingerprint_sha256",
        "/active/chain/0/subject",
        "/disk/verdict",
        "/disk/reason",
        "/disk/detail",
        "/disk/leaf/subject",
        "/last_reload/result",
        "/last_reload/reason",
        "/watcher/mode",
        "/connections/0/name",
        "/connections/0/server",
        "/connections/0/state",
        "/connections/0/last_error",
    ] {
        let value = if path == "/warnings" {
            json!([hostile])
        } else {
            json!(hostile)
        };
        *document.pointer_mut(path).unwrap() = value;
    }
    document["ready"] = json!(false);
    document["last_rejection"] = json!({ "reason": hostile, "detail": hostile, "advice": hostile });
    document["last_preflight"] = json!({ "result": hostile, "detail": hostile });
    let page = page(&document);
    assert!(!page.chars().any(|c| c.is_control() && c != '\n') && !page.contains('\u{202e}'));
    assert!(
        page.lines().count() < 40 && page.len() < 64 * 1024,
        "{}",
        page.len()
    );
}

#[test]
fn what_other_processes_find_is_shown_and_why_they_do_not_find_more() {
    let mut document = good();
    document["publish"] = json!({
        "directory": "/run/nats-tls", "result": "published", "generation": 3, "error": null,
        "failing_since": null,
    });
    let shown = page(&document);
    let line = "\nPublished for other processes\n  /run/nats-tls  the same as active\n";
    assert!(shown.contains(line), "{shown}");
    assert_eq!(to_do(&document), "  Nothing.\n");

    document["publish"] = json!({
        "directory": "/run/nats-tls", "result": "failed", "generation": 2,
        "error": "/run/nats-tls/tls.key: cannot write: No space left on device. Make room",
        "failing_since": "2026-06-01T11:00:00Z",
    });
    let shown = page(&document);
    let line = "  /run/nats-tls  generation 2, OLDER than active, FAILING since 60 minutes ago\n";
    assert!(shown.contains(line), "{shown}");
    assert!(to_do(&document).contains("Make room"), "{shown}");
}

#[test]
fn a_relay_says_who_is_not_moved_yet_and_why() {
    let mut document = good();
    document["relay"] = json!({
        "listen": "127.0.0.1:4222", "sessions": 12, "behind": 2,
        "handovers": { "ok": 10, "failed": 3, "fallback": 0 },
        "last_failure": { "detail": "a:4222: \u{1b}[2Jrefused", "at": "2026-06-01T11:58:00Z" },
    });
    let expected = "
Relay
  clients       12 on 127.0.0.1:4222; 2 NOT YET on the active generation
  handovers     10 unnoticed, 3 failed, 0 told to reconnect
  last failure  2 minutes ago: a:4222: \u{fffd}[2Jrefused

Reloads
";
    let shown = page(&document);
    assert!(shown.contains(expected), "{shown}");
    document["relay"] = json!({});
    let shown = page(&document);
    let ended = "clients    0 ENDED; all on the active generation";
    assert!(shown.contains(ended), "{shown}");
}
