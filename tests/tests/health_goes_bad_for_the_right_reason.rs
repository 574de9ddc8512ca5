//! Promise 8: startup, readiness and liveness of a running agent mean different things, go bad for
//! the right reason, and liveness never only because NATS is down.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, KubernetesVolume, Part, PlainFiles};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::process::Signal;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

/// What the three probes answer: status and the one line.
#[derive(Debug, PartialEq)]
struct Probes {
    started: u16,
    ready: (u16, String),
    live: u16,
}

async fn probes(agent: &Agent) -> Result<Probes> {
    let ready = agent.get("/readyz").await?;
    Ok(Probes {
        started: agent.get("/startupz").await?.status,
        ready: (ready.status, ready.body.trim().to_owned()),
        live: agent.get("/livez").await?.status,
    })
}

/// Waits until readiness says `reason` (none: ready), with these answers of the others.
async fn expect(agent: &Agent, reason: Option<&str>, started: u16) -> Result<()> {
    let what = format!("readiness: {reason:?}");
    eventually(PATIENCE, &what, || async {
        let seen = probes(agent).await?;
        let (status, line) = &seen.ready;
        let right = match reason {
            None => *status == 200,
            Some(reason) => *status == 503 && line.contains(reason),
        };
        ensure!(
            right && seen.started == started && seen.live == 200,
            "{seen:?}"
        );
        Ok(Some(()))
    })
    .await
}

fn run(files: &PlainFiles, server: Option<&NatsServer>) -> Result<AgentCommand> {
    let command = AgentCommand::new("run")
        .plain_files(files)
        .flag("--settle", "300ms")
        .flag("--poll-interval", "200ms")
        .flag("--spread", "0s")
        .http()?;
    Ok(match server {
        Some(server) => command.flag("--server", server.url()),
        None => command,
    })
}

fn identity(authority: &Authority) -> Identity {
    authority.issue(&LeafSpec::client("agent"))
}

#[tokio::test]
async fn from_nothing_to_ready_and_through_an_outage() -> Result<()> {
    let authority = Authority::new("root");
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    server.stop().await?;
    let files = PlainFiles::empty()?;
    let agent = run(&files, Some(&server))?.start().await?;

    expect(&agent, Some("no_material"), 503).await?;
    files.rename_over(&Contents::new(&identity(&authority), &authority.root_pem()))?;
    expect(&agent, Some("connecting"), 503).await?;
    server.restart().await?;
    expect(&agent, None, 200).await?;

    server.stop().await?;
    expect(&agent, Some("disconnected"), 200).await?;
    throughout(
        Duration::from_secs(2),
        "an outage does not kill",
        || async {
            let seen = probes(&agent).await?;
            Ok(seen.live == 200 && seen.started == 200 && seen.ready.0 == 503)
        },
    )
    .await?;
    server.restart().await?;
    expect(&agent, None, 200).await?;
    // The same as events, with the cause, for whoever reads logs.
    let log = agent.stderr();
    let of_us = |line: &&str| line.contains(r#"component="nats-mtls-agent""#);
    let events: Vec<_> = log.lines().filter(of_us).collect();
    for (event, cause) in [
        ("connected", "generation=1"),
        ("disconnected", r#"cause="network""#),
        ("reconnected", r#"cause="network""#),
    ] {
        let word = format!(" {event} ");
        let told = events.iter().filter(|line| line.contains(&word));
        let told: Vec<_> = told.collect();
        ensure!(
            told.len() == 1 && told[0].contains(cause),
            "{event}: {told:?} in\n{log}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn bad_files_never_make_a_working_agent_unready() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let good = Contents::new(&identity(&authority), &authority.root_pem());
    let files = PlainFiles::new(&good)?;
    let agent = run(&files, Some(&server))?.start().await?;
    expect(&agent, None, 200).await?;
    let expired = authority.issue(&LeafSpec::client("agent").expired());
    files.rename_over(&Contents::new(&expired, &authority.root_pem()))?;
    eventually(PATIENCE, "the expired set is rejected", || async {
        let disk = agent.status().await?["disk"].clone();
        Ok((disk["verdict"] == "rejected" && disk["reason"] == "expired").then_some(()))
    })
    .await?;
    files.remove(Part::Certificate)?;
    eventually(PATIENCE, "the missing file is seen", || async {
        Ok((agent.status().await?["disk"]["verdict"] == "unreadable").then_some(()))
    })
    .await?;
    expect(&agent, None, 200).await
}

#[tokio::test]
async fn an_expired_certificate_is_said_and_healed() -> Result<()> {
    // Building it could take longer than the certificate lives.
    nats_mtls_tests::agent::binary().await?;
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let short =
        LeafSpec::client("agent").valid(time::Duration::hours(-1), time::Duration::seconds(6));
    let files = PlainFiles::new(&Contents::new(
        &authority.issue(&short),
        &authority.root_pem(),
    ))?;
    let agent = run(&files, Some(&server))?.start().await?;
    expect(&agent, None, 200).await?;
    expect(&agent, Some("expired"), 200).await?;
    files.rename_over(&Contents::new(&identity(&authority), &authority.root_pem()))?;
    expect(&agent, None, 200).await
}

#[tokio::test]
async fn without_a_server_material_alone_is_ready() -> Result<()> {
    let authority = Authority::new("root");
    let files = PlainFiles::new(&Contents::new(&identity(&authority), &authority.root_pem()))?;
    let agent = run(&files, None)?.start().await?;
    expect(&agent, None, 200).await?;
    let status = agent.status().await?;
    ensure!(status["connections"].as_array().is_some_and(Vec::is_empty));
    ensure!(
        agent.stderr().contains("preflight is off"),
        "{}",
        agent.stderr()
    );
    Ok(())
}

#[tokio::test]
async fn the_monitored_connection_follows_sighup_and_ends_on_sigterm() -> Result<()> {
    let authority = Authority::new("root");
    let first = identity(&authority);
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let mut volume = KubernetesVolume::new(&Contents::new(&first, &authority.root_pem()))?;
    let agent = AgentCommand::new("run")
        .volume(&volume)
        .flag("--server", server.url())
        .flag("--component", "sidecar")
        // So long that only SIGHUP can be what makes it look and move.
        .flag("--spread", "600s")
        .http()?
        .start()
        .await?;
    server
        .sees("sidecar", first.fingerprint(), PATIENCE)
        .await?;
    let next = authority.renew(&first);
    volume.update(&Contents::new(&next, &authority.root_pem()))?;
    agent.reload()?;
    server.sees("sidecar", next.fingerprint(), PATIENCE).await?;
    let status = agent.status().await?;
    ensure!(status["active"]["leaf"]["fingerprint_sha256"] == next.fingerprint());

    let asked = std::time::Instant::now();
    agent.terminate()?;
    let ended = agent.wait(PATIENCE).await?;
    ensure!(ended.success(), "{ended}");
    ensure!(
        asked.elapsed() < Duration::from_secs(2),
        "took {:?}",
        asked.elapsed()
    );
    eventually(PATIENCE, "the connection is gone", || async {
        Ok(server.connection("sidecar").await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn readiness_says_draining_while_it_ends() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let files = PlainFiles::new(&Contents::new(&identity(&authority), &authority.root_pem()))?;
    let agent = run(&files, Some(&server))?
        .flag("--drain-timeout", "5s")
        .start()
        .await?;
    expect(&agent, None, 200).await?;
    // A server that does not answer keeps the drain waiting.
    server.freeze().await?;
    agent.process().signal(Signal::TERM)?;
    let line = eventually(PATIENCE, "draining, or ended", || async {
        match agent.get("/readyz").await {
            Ok(answer) if answer.status == 503 => Ok(Some(Some(answer.body))),
            Ok(_) => Ok(None),
            Err(_) => Ok(agent.process().exit_status()?.map(|_| None)),
        }
    })
    .await?;
    server.thaw()?;
    let ended = agent.wait(PATIENCE).await?;
    ensure!(ended.success(), "{ended}");
    if let Some(line) = line {
        ensure!(line.contains("draining"), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_platform_root_store_that_cannot_be_loaded_is_said() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let files = PlainFiles::new(&Contents::new(&identity(&authority), &authority.root_pem()))?;
    let broken = files.directory().join("platform-roots.pem");
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n",
    )?;
    let finished = run(&files, Some(&server))?
        .flag("--startup", "fail-fast")
        .environment("SSL_CERT_FILE", &broken)
        .run(PATIENCE)
        .await?;
    ensure!(finished.code == Some(1), "{:?}", finished.code);
    let line = finished
        .stderr
        .lines()
        .find(|line| line.contains("SSL_CERT_FILE"))
        .context("the variable is not named")?;
    ensure!(line.contains("platform"), "{line}");
    Ok(())
}
