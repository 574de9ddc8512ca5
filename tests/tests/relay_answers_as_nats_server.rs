//! Promise 10, what a hostile client hears: what nats-server itself would say to the same bytes,
//! then the connection is closed; and nobody else feels it.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::{try_join, try_join_all};
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::besieged::Besieged;
use nats_mtls_tests::pki::Authority;
use nats_mtls_tests::server::{NatsServer, ServerSettings, Verify};
use nats_mtls_tests::stranger::{self, Answer, CONNECT, Stranger};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::time::timeout;

/// For whoever says nothing, or not all of it.
const SHORT: Duration = Duration::from_secs(1);

/// A server without TLS, with one line of configuration.
async fn plain(line: &str) -> Result<NatsServer> {
    let settings = ServerSettings::new(&Authority::new("unused"));
    NatsServer::start(settings.verify(Verify::PlainText).line(line)).await
}

/// Every byte there is, and no operation.
fn junk() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(4096).collect()
}

/// What a client is told that was let in and then says this.
async fn told(port: u16, words: impl AsRef<[u8]>) -> Result<Answer> {
    let mut stranger = Stranger::introduced(port, "").await?;
    stranger.say(words).await?;
    stranger.answer().await
}

fn error(text: &str) -> String {
    format!("-ERR '{text}'")
}

#[tokio::test]
async fn what_is_no_nats_or_too_large() -> Result<()> {
    let besieged = Besieged::start(|agent| agent).await?;
    let direct = plain("max_control_line: 4096").await?;
    let unknown = "Unknown Protocol Operation";
    let too_long = "maximum control line exceeded";
    let too_large = "Maximum Payload Violation";
    let endless = "a".repeat(100_000);
    let at_once = [
        (junk(), unknown),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), unknown),
        (format!("CONNECT {{\"name\":\"{endless}").into(), too_long),
    ];
    for (words, expected) in at_once {
        let through = stranger::answer(besieged.port(), &words).await?;
        let directly = stranger::answer(direct.port(), &words).await?;
        ensure!(through.said == [error(expected)], "{through:?}");
        ensure!(through.said == directly.said, "{directly:?}");
    }
    let behind_connect = [
        (junk(), unknown),
        (format!("SUB {endless}").into(), too_long),
        (format!("PUB a {endless}").into(), too_long),
        (b"PUB a 1048577\r\n".to_vec(), too_large),
        (b"PUB a 999999999\r\n".to_vec(), too_large),
        (b"PUB a 3\r\nabcdef\r\n".to_vec(), unknown),
    ];
    for (words, expected) in behind_connect {
        let through = told(besieged.port(), &words).await?;
        let directly = told(direct.port(), &words).await?;
        ensure!(through.said.last() == Some(&error(expected)), "{through:?}");
        ensure!(through.said == directly.said, "{directly:?}");
    }
    besieged.is_left_alone().await?;
    besieged.finish().await
}

/// nats-server closes these connections without a word; the relay says the protocol's word for it.
#[tokio::test]
async fn what_nats_server_only_closes_for() -> Result<()> {
    let besieged = Besieged::start(|agent| agent).await?;
    let direct = plain("").await?;
    for words in [
        "PUB a -5\r\n",
        "PUB a 99999999999999999999999\r\n",
        "PUB a b c d\r\n",
        "-ERR 'enough'\r\n",
    ] {
        let directly = told(direct.port(), words).await?;
        ensure!(directly.said == ["PONG"], "{directly:?}");
        let through = told(besieged.port(), words).await?;
        ensure!(
            through.said == ["PONG".to_owned(), error("Parser Error")],
            "{through:?}"
        );
    }
    besieged.finish().await
}

/// As a server does that wants to know who somebody is: the relay passes on one CONNECT for each
/// client, and nothing before it.
#[tokio::test]
async fn operations_before_connect() -> Result<()> {
    let besieged = Besieged::start(|agent| agent).await?;
    let users = "authorization { users: [ { user: a, password: b } ] }";
    let direct = plain(users).await?;
    for words in ["PING\r\n", "SUB > 1\r\n", "PUB a 1\r\na\r\n"] {
        let through = stranger::answer(besieged.port(), words).await?;
        let directly = stranger::answer(direct.port(), words).await?;
        ensure!(
            through.said == [error("Authorization Violation")],
            "{through:?}"
        );
        ensure!(through.said == directly.said, "{directly:?}");
    }
    besieged.finish().await
}

/// nats-server takes a second CONNECT and goes on. The relay has one to send again at a handover, so
/// it refuses; no client library says it twice.
#[tokio::test]
async fn a_second_connect() -> Result<()> {
    let besieged = Besieged::start(|agent| agent).await?;
    let direct = plain("").await?;
    let mut goes_on = Stranger::introduced(direct.port(), CONNECT).await?;
    goes_on.say("SUB a 1\r\nPUB a 2\r\nok\r\n").await?;
    goes_on.hear("MSG a 1 2\r\nok").await?;
    let through = told(besieged.port(), CONNECT).await?;
    ensure!(
        through.said == ["PONG".to_owned(), error("Parser Error")],
        "{through:?}"
    );
    besieged.finish().await
}

#[tokio::test]
async fn who_does_not_go_on() -> Result<()> {
    let short = |agent: AgentCommand| {
        agent
            .flag("--client-connect-timeout", "1s")
            .flag("--client-idle-timeout", "1s")
    };
    let besieged = Besieged::start(short).await?;
    let users = "authorization { users: [ { user: a, password: b } ], timeout: 1 }";
    let direct = plain(users).await?;
    let silent = ["", "CON", "CONNECT {\"verbose\":"].map(async |words| {
        let through = stranger::answer(besieged.port(), words);
        let directly = stranger::answer(direct.port(), words);
        let (through, directly) = try_join(through, directly).await?;
        let late = [error("Authentication Timeout")];
        ensure!(through.said == late, "{words:?}: {through:?}");
        ensure!(through.said == directly.said, "{words:?}: {directly:?}");
        is_punctual(through.after)
    });
    try_join_all(silent).await?;
    // A server without traffic asks for a sign of life for minutes before it says this.
    let stale = ["", "PI", "SUB a", "PUB a 10\r\nhalf"].map(async |words| {
        let through = told(besieged.port(), words).await?;
        let stale = ["PONG".to_owned(), error("Stale Connection")];
        ensure!(through.said == stale, "{words:?}: {through:?}");
        is_punctual(through.after)
    });
    // Who only listens is not idle.
    let listens = "SUB load.neighbour.up 1\r\n";
    let listens = Stranger::introduced(besieged.port(), listens).await?;
    let stays = timeout(3 * SHORT, listens.answer());
    let (stale, stays) = tokio::join!(try_join_all(stale), stays);
    stale?;
    ensure!(stays.is_err(), "{stays:?}");
    besieged.is_left_alone().await?;
    besieged.finish().await
}

fn is_punctual(after: Duration) -> Result<()> {
    ensure!(after >= SHORT && after < SHORT + PATIENCE / 2, "{after:?}");
    Ok(())
}

/// nats-server says so for each subscription too many and goes on without it; the relay would have
/// to say it to both servers of a handover, so it ends the session.
#[tokio::test]
async fn too_many_subscriptions_or_too_long_ones() -> Result<()> {
    let limits = |agent: AgentCommand| {
        agent
            .flag("--max-subscriptions", "1000")
            .flag("--max-interest", "65536")
    };
    let besieged = Besieged::start(limits).await?;
    let direct = plain("max_subscriptions: 1000").await?;
    let expected = error("maximum subscriptions exceeded");
    let many: String = (0..1_001).map(|id| format!("SUB a {id}\r\n")).collect();
    let mut goes_on = Stranger::introduced(direct.port(), &many).await?;
    goes_on.hear(&expected).await?;

    let subject = "a".repeat(4000);
    let long: String = (0..17)
        .map(|id| format!("SUB {subject} {id}\r\n"))
        .collect();
    let thousands: String = (0..50_000)
        .map(|id| format!("SUB a.b.c {id}\r\n"))
        .collect();
    for words in [many, long, thousands] {
        let through = told(besieged.port(), words).await?;
        ensure!(
            through.said == ["PONG".to_owned(), expected.clone()],
            "{through:?}"
        );
    }
    // What is within the limits is served.
    let few: String = (0..1_000).map(|id| format!("SUB a {id}\r\n")).collect();
    let mut served = Stranger::introduced(besieged.port(), &few).await?;
    served
        .say("UNSUB 0\r\nSUB b.c 0\r\nPUB b.c 2\r\nok\r\n")
        .await?;
    served.hear("MSG b.c 0 2\r\nok").await?;
    besieged.finish().await
}

#[tokio::test]
async fn one_too_many() -> Result<()> {
    let besieged = Besieged::start(|agent| agent.flag("--max-sessions", "3")).await?;
    let direct = plain("max_connections: 1").await?;
    let _only = Stranger::introduced(direct.port(), "").await?;
    let _second = Stranger::introduced(besieged.port(), "").await?;
    let third = Stranger::introduced(besieged.port(), "").await?;
    let through = stranger::answer(besieged.port(), "").await?;
    let directly = stranger::answer(direct.port(), "").await?;
    ensure!(
        through.said == [error("maximum connections exceeded")],
        "{through:?}"
    );
    ensure!(through.said == directly.said, "{directly:?}");
    drop(third);
    // A place is free again.
    eventually(PATIENCE, "somebody is let in", || async {
        Stranger::introduced(besieged.port(), "").await.map(Some)
    })
    .await?;
    besieged.finish().await
}
