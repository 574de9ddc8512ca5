//! `run` as an orchestrator sees it: probes, signals and exit codes, without any server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use support::{Agent, Set, agent, eventually, free_address, output};

#[test]
fn probes_are_answered_before_there_is_material_and_turn_when_it_arrives() {
    let set = Set::without_leaf();
    let agent = Agent::run(&set, &["--poll-interval", "100ms"]);
    assert_eq!(agent.get("/livez").0, 200);
    let (code, why) = agent.get("/readyz");
    assert_eq!(code, 503);
    assert!(why.starts_with("no_material: "), "{why}");
    assert_eq!(agent.get("/startupz").0, 503);
    set.issue("orders", 3000);
    eventually("ready", || (agent.get("/readyz").0 == 200).then_some(()));
    assert_eq!(agent.get("/startupz").0, 200);
    assert_eq!(agent.status()["active"]["leaf"]["subject"], "CN=orders");
}

#[test]
fn a_hangup_reloads_now() {
    let set = Set::new();
    let agent = Agent::run(&set, &["--poll-interval", "1h", "--settle", "1h"]);
    eventually("ready", || (agent.get("/readyz").0 == 200).then_some(()));
    fs::write(set.path("tls.key"), "").unwrap();
    eventually("rejected by a hangup without waiting for settling", || {
        agent.signal("HUP");
        (agent.status()["disk"]["verdict"] == "rejected").then_some(())
    });
    let status = agent.status();
    assert_eq!(status["ready"], true);
    assert_eq!(status["last_rejection"]["reason"], "no_private_key");
    agent.signal("TERM");
    let (status, log) = agent.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("reload: rejected"), "{log}");
}

#[test]
fn a_signal_ends_it_cleanly_and_quickly_in_every_phase() {
    let unreachable = format!("tls://{}", free_address());
    let phases: [(&str, Set, &[&str]); 3] = [
        ("waiting for material", Set::without_leaf(), &[]),
        ("waiting for NATS", Set::new(), &["--server", &unreachable]),
        ("watching", Set::new(), &[]),
    ];
    for (phase, set, flags) in phases {
        for signal in ["TERM", "INT"] {
            let agent = Agent::run(&set, flags);
            if phase != "waiting for material" {
                eventually("material", || {
                    (agent.status()["generation"] == 1).then_some(())
                });
            }
            let started = Instant::now();
            agent.signal(signal);
            let (status, log) = agent.end();
            assert_eq!(status.code(), Some(0), "{phase}: {log}");
            assert!(started.elapsed() < Duration::from_secs(2), "{phase}");
        }
    }
}

#[test]
fn a_taken_port_is_exit_code_one_and_named() {
    let set = Set::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, log) = output(agent("run").args(set.flags()).args(["--http", &address]));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&address) && log.contains("--http"), "{log}");
}

#[test]
fn a_taken_relay_port_is_exit_code_one_and_named() {
    let set = Set::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = free_address().to_string();
    let flags = ["--http", "off", "--server", &server, "--listen", &address];
    let (code, _, log) = output(agent("run").args(set.flags()).args(flags));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("--listen") && log.contains(&format!("{address} is in use")),
        "{log}"
    );
}

#[test]
fn a_signal_ends_the_relay_while_nats_is_not_there_yet() {
    let set = Set::new();
    let server = free_address().to_string();
    let listen = free_address();
    let listening = listen.to_string();
    let agent = Agent::run(&set, &["--server", &server, "--listen", &listening]);
    eventually("the relay listens", || TcpStream::connect(listen).ok());
    eventually("the client is counted", || {
        (agent.status()["relay"]["sessions_total"]["left"] == 1).then_some(())
    });
    agent.signal("TERM");
    let (status, log) = agent.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("relay: draining"), "{log}");
}

#[test]
fn a_start_that_gives_up_says_why() {
    let set = Set::without_leaf();
    let run = |more: &[&str]| {
        let mut run = agent("run");
        run.args(set.flags()).args(["--http", "off"]).args(more);
        output(&mut run)
    };
    let (code, _, log) = run(&["--startup", "fail-fast"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("read_error") && log.contains("tls.crt"),
        "{log}"
    );
    let (code, _, log) = run(&["--startup", "retry", "--startup-budget", "200ms"]);
    assert_eq!(code, Some(1), "{log}");

    set.issue("orders", 3000);
    let server = free_address().to_string();
    let (code, _, log) = run(&["--startup", "fail-fast", "--server", &server]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains(&server), "{log}");
}

#[test]
fn the_log_is_json_if_asked_for() {
    let set = Set::without_leaf();
    let (_, _, log) = output(agent("run").args(set.flags()).args([
        "--http",
        "off",
        "--startup",
        "fail-fast",
        "--log-format",
        "json",
    ]));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    assert!(log.contains("starting"), "{log}");
}
