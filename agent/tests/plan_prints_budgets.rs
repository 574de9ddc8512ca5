//! `plan` as people and scripts see it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use serde_json::{Value, json};
use support::{agent, output};

fn plan(arguments: &[&str]) -> (Option<i32>, String, String) {
    output(agent("plan").args(arguments))
}

#[test]
fn the_page_shows_each_number_and_where_it_comes_from() {
    let (code, page, stderr) = plan(&["--pods", "24", "--max-unavailable", "3"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for line in [
        "Rotation of 24 pods, at most 3 of them without NATS at once",
        "  cycle        4s        reconnect wait 2s + handshake timeout 2s",
        "  wave window  8s        2 cycles: one attempt may fail; stop and look when a wave needs longer",
        "  waves        8         24 / 3, rounded up",
        "  total        1m 4s     8 x 8s",
        "  budget       1m        connect timeout 5s x 3 servers x 3 passes + margin 15s",
        "  startupProbe    /startupz   5              13                patient for 1m: the budget",
    ] {
        assert!(
            page.lines().any(|printed| printed == line),
            "{line}\n{page}"
        );
    }
}

#[test]
fn the_document_holds_the_same_in_seconds() {
    let arguments =
        "--pods 25 --max-unavailable 3 --reconnect-wait 1500ms --connect-timeout 10s --json";
    let (code, document, _) = plan(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(code, Some(0));
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        document["rotation"],
        json!({
            "pods": 25, "max_unavailable": 3,
            "reconnect_wait_seconds": 1.5, "handshake_timeout_seconds": 2.0,
            "cycle_seconds": 3.5, "wave_window_seconds": 7.0, "waves": 9, "total_seconds": 63.0,
        })
    );
    assert_eq!(document["startup"]["budget_seconds"], 105.0);
    assert_eq!(
        document["probes"]["startup"],
        json!({
            "path": "/startupz", "period_seconds": 5, "failure_threshold": 22, "window_seconds": 105,
        })
    );
}

#[test]
fn bad_input_names_the_flag() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "--pods"),
        (&["--pods", "24"], "--max-unavailable"),
        (&["--pods", "0", "--max-unavailable", "3"], "--pods"),
        (&["--pods", "-1", "--max-unavailable", "3"], "-1"),
        (
            &["--pods", "24", "--max-unavailable", "25%"],
            "--max-unavailable",
        ),
        (
            &["--pods", "24", "--max-unavailable", "0"],
            "--max-unavailable",
        ),
        (
            &["--pods", "24", "--max-unavailable", "3", "--servers", "0"],
            "--servers",
        ),
        (
            &["--pods", "24", "--max-unavailable", "3", "--margin", "long"],
            "--margin",
        ),
        (
            &[
                "--pods",
                "24",
                "--max-unavailable",
                "3",
                "--connect-timeout",
                "0s",
            ],
            "--connect-timeout",
        ),
        (
            &[
                "--pods",
                "24",
                "--max-unavailable",
                "3",
                "--handshake-timeout",
                "11y",
            ],
            "--handshake-timeout",
        ),
    ];
    for (arguments, flag) in cases {
        let (code, stdout, stderr) = plan(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(flag),
            "{arguments:?}: {stderr}"
        );
    }
}
