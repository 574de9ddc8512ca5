//! Promise 10: a hostile or slow client of the relay costs a bounded amount of memory, the bound
//! follows from the configuration, and a well-behaved session beside it does not feel anything.
//!
//! The memory is the agent's resident memory at its worst, as the kernel counts it. What clients are
//! told is in `relay_answers_as_nats_server`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::besieged::Besieged;
use nats_mtls_tests::load::{Client, Hello};
use nats_mtls_tests::stranger::{self, CONNECT, Stranger};
use nats_mtls_tests::wait::{PATIENCE, eventually};

const MIB: u64 = 1024 * 1024;
/// `--max-buffered` in these tests.
const BUFFERED: u64 = MIB;
/// What a session may hold at its worst: what waits for one side, in a buffer that grows by doubling,
/// TLS in both directions, and what was read and not looked at.
const PER_SESSION: u64 = 2 * BUFFERED + MIB / 2;
/// What the allocator keeps, and everything that has nothing to do with what is tried.
const SLACK: u64 = 8 * MIB;

fn buffered(agent: AgentCommand) -> AgentCommand {
    agent.flag("--max-buffered", BUFFERED.to_string())
}

fn is_bounded(besieged: &Besieged, sessions: u64) -> Result<()> {
    is_within(besieged, sessions * PER_SESSION + SLACK)
}

fn is_within(besieged: &Besieged, bound: u64) -> Result<()> {
    let cost = besieged.cost()?;
    println!("{} KiB of {} KiB", cost / 1024, bound / 1024);
    ensure!(
        cost <= bound,
        "{} KiB, not {} KiB",
        cost / 1024,
        bound / 1024
    );
    Ok(())
}

/// 128 MiB are sent to each of four clients that take nothing. Each is closed, as nats-server closes a
/// client that falls too far behind.
#[tokio::test]
async fn clients_that_do_not_read_what_the_server_sends() -> Result<()> {
    const CLIENTS: u64 = 4;
    let besieged =
        Besieged::start(|agent| buffered(agent).flag("--client-stall-timeout", "3s")).await?;
    let mut slow = Vec::new();
    for _ in 0..CLIENTS {
        slow.push(Stranger::introduced(besieged.port(), "SUB flood 1\r\n").await?);
    }
    flood(&besieged, 128 * MIB).await?;
    eventually(PATIENCE, "all of them are closed", || async {
        let log = besieged.relay.agent.stderr();
        let told = log.matches("the client is too slow").count() as u64;
        Ok((told == CLIENTS).then_some(()))
    })
    .await?;
    besieged.is_left_alone().await?;
    for stranger in slow {
        stranger.answer().await?;
    }
    is_bounded(&besieged, CLIENTS)?;
    besieged.finish().await
}

/// The same flood for a client that reads slowly, but reads: it gets all of it, and is not closed.
#[tokio::test]
async fn a_client_that_reads_late_gets_everything() -> Result<()> {
    let besieged = Besieged::start(buffered).await?;
    let mut late = Stranger::introduced(besieged.port(), "SUB flood 1\r\n").await?;
    // Less than nats-server keeps for a client (`max_pending`, 64 MiB), much more than the relay does.
    flood(&besieged, 32 * MIB).await?;
    late.hear("the last one").await?;
    is_bounded(&besieged, 1)?;
    besieged.finish().await
}

/// Publishes so many bytes to `flood`, and waits until the server has them.
async fn flood(besieged: &Besieged, bytes: u64) -> Result<()> {
    const PAYLOAD: usize = 64 * 1024;
    let direct = besieged.direct().clone();
    let publish = move || {
        let mut client = Client::connect(&direct, &Hello::named("flood"))?;
        let frame = format!("PUB flood {PAYLOAD}\r\n{}\r\n", "x".repeat(PAYLOAD));
        for _ in 0..bytes / PAYLOAD as u64 {
            client.line().send(frame.as_bytes())?;
        }
        client.line().send(b"PUB flood 12\r\nthe last one\r\n")?;
        client.flush()
    };
    tokio::task::spawn_blocking(publish).await?
}

/// PINGs, of which nobody takes the answers.
#[tokio::test]
async fn a_flood_of_pings_without_reading() -> Result<()> {
    let besieged =
        Besieged::start(|agent| buffered(agent).flag("--client-stall-timeout", "5s")).await?;
    let mut stranger = Stranger::introduced(besieged.port(), "").await?;
    let pings = "PING\r\n".repeat(100_000);
    let began = Instant::now();
    let mut said = 0;
    while began.elapsed() < PATIENCE && stranger.takes(&pings, Duration::from_secs(2)).await {
        said += pings.len() as u64;
    }
    println!("{} MiB of PINGs in {:?}", said / MIB, began.elapsed());
    eventually(PATIENCE, "it is closed", || async {
        let log = besieged.relay.agent.stderr();
        Ok(log.contains("the client is too slow").then_some(()))
    })
    .await?;
    is_bounded(&besieged, 1)?;
    besieged.is_left_alone().await?;
    besieged.finish().await
}

/// A server that takes nothing is waited for, and so is its client.
#[tokio::test]
async fn a_client_that_publishes_to_a_server_that_stands_still() -> Result<()> {
    let besieged = Besieged::start(buffered).await?;
    let mut stranger = Stranger::introduced(besieged.port(), "").await?;
    besieged.server().freeze().await?;
    let frame = format!("PUB flood 65536\r\n{}\r\n", "x".repeat(65536));
    let mut said = 0;
    while stranger.takes(&frame, Duration::from_secs(1)).await {
        said += frame.len() as u64;
        ensure!(said < 64 * MIB, "somebody keeps all of it");
    }
    is_bounded(&besieged, 2)?;
    besieged.server().thaw()?;
    besieged.relay.agent.status().await?;
    Ok(())
}

/// As much interest as the limits allow, in as many sessions as there may be.
#[tokio::test]
async fn interest_up_to_the_limits() -> Result<()> {
    const SESSIONS: u64 = 8;
    const INTEREST: u64 = MIB;
    /// Of a subscription beside its bytes, in the tables.
    const ENTRY: u64 = 512;
    let besieged =
        Besieged::start(|agent| buffered(agent).flag("--max-interest", INTEREST.to_string()))
            .await?;
    let subject = "a".repeat(3_990);
    let long: String = (0..260)
        .map(|id| format!("SUB {subject} {id}\r\n"))
        .collect();
    let many: String = (0..16_000)
        .map(|id| format!("SUB a.b.c.d {id}\r\n"))
        .collect();
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let interest = if number % 2 == 0 { &long } else { &many };
        sessions.push(Stranger::introduced(besieged.port(), interest).await?);
    }
    let entries = SESSIONS / 2 * 16_000 * ENTRY;
    is_within(
        &besieged,
        SESSIONS * (2 * INTEREST + MIB / 2) + entries + SLACK,
    )?;
    drop(sessions);
    besieged.is_left_alone().await?;
    besieged.finish().await
}

/// Far more clients than there may be, none of which ever says CONNECT.
#[tokio::test]
async fn a_crowd_that_says_nothing() -> Result<()> {
    const PLACES: u64 = 64;
    let besieged = Besieged::start(|agent| {
        buffered(agent)
            .flag("--max-sessions", PLACES.to_string())
            .flag("--client-connect-timeout", "2s")
    })
    .await?;
    let crowd = (0..400).map(|_| stranger::answer(besieged.port(), ""));
    let answers = try_join_all(crowd).await?;
    let count = |text: &str| {
        answers
            .iter()
            .filter(|answer| answer.said == [text])
            .count()
    };
    let full = count("-ERR 'maximum connections exceeded'");
    let late = count("-ERR 'Authentication Timeout'");
    ensure!(full + late == 400, "{full} and {late}");
    ensure!(full > 0 && late as u64 >= PLACES - 1, "{full} and {late}");
    // Nothing is kept for somebody who says nothing, but TLS with the server that waits.
    is_within(&besieged, PLACES * MIB / 8 + SLACK)?;
    besieged.is_left_alone().await?;
    let mut served = Stranger::introduced(besieged.port(), "").await?;
    served.say("PING\r\n").await.context("not served")?;
    besieged.finish().await
}

/// Clients that send junk and leave, come again, and leave in the middle of something.
#[tokio::test]
async fn many_that_misbehave_one_after_the_other() -> Result<()> {
    let besieged = Besieged::start(buffered).await?;
    let junk: Vec<u8> = (0..=u8::MAX).cycle().take(64 * 1024).collect();
    let half = format!("{CONNECT}PUB a 1000000\r\n{}", "x".repeat(100_000));
    for _ in 0..10 {
        let crowd = (0..10).map(async |number| {
            if number % 2 == 0 {
                stranger::answer(besieged.port(), &junk).await.map(drop)
            } else {
                let mut leaves = Stranger::connect(besieged.port()).await?;
                leaves.say(&half).await
            }
        });
        try_join_all(crowd).await?;
    }
    besieged.is_left_alone().await?;
    is_bounded(&besieged, 10)?;
    besieged.finish().await
}
