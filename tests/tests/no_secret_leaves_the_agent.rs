//! Promise 9 on the running agent: its log at TRACE, its status, its metrics and `check` hold no
//! key bytes and no credentials.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Result, ensure};
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::http_sink::HttpSink;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::published;
use nats_mtls_tests::server::{NatsServer, ServerSettings, Verify};
use nats_mtls_tests::wait::{PATIENCE, eventually};

const PASSWORD: &str = "correct-horse-battery-staple";
/// Of the relay, and what somebody tries instead.
const LOCAL_PASSWORD: &str = "wrong-donkey-charger-paperclip";
const GUESS: &str = "hunter-two-or-three";
/// Of a hook that says what it was asked.
const HOOK_PATH: &str = "tell-nobody-of-this-path";
const HOOK_TOKEN: &str = "nor-of-this-token";

#[tokio::test]
async fn whatever_it_is_asked() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(
        ServerSettings::new(&authority)
            .verify(Verify::Required)
            .password_user("alice", PASSWORD),
    )
    .await?;
    let identity = authority.issue(&LeafSpec::client("agent"));
    let other = authority.renew(&identity);
    let good = Contents::new(&identity, &authority.root_pem());
    let swapped = Contents {
        certificate: identity.key_pem().to_owned(),
        key: identity.chain_pem().to_owned(),
        roots: other.key_pem().to_owned(),
    };
    let mut volume = KubernetesVolume::new(&good)?;
    let url = server
        .url()
        .replace("tls://", &format!("tls://alice:{PASSWORD}@"));
    let published = tempfile::tempdir()?;
    let secrets = tempfile::tempdir()?;
    let local = secrets.path().join("local");
    std::fs::write(&local, LOCAL_PASSWORD)?;
    let hook = HttpSink::start_refusing_with_an_echo().await?;
    let hook_url = hook.url(&format!("/{HOOK_PATH}?token={HOOK_TOKEN}"));
    let agent = AgentCommand::new("run")
        .flag("--listen", "127.0.0.1:0")
        .flag("--local-user", "legacy")
        .flag("--local-password-file", &local)
        .volume(&volume)
        .flag("--publish-dir", published.path())
        .flag("--on-rotate-http", &hook_url)
        .environment("NATS_URL", &url)
        .flag("--settle", "0s")
        .flag("--poll-interval", "200ms")
        .flag(
            "--log-level",
            "trace,async_nats=trace,rustls=trace,notify=trace",
        )
        .http()?
        .start()
        .await?;
    eventually(PATIENCE, "ready", || async {
        Ok((agent.get("/readyz").await?.status == 200).then_some(()))
    })
    .await?;
    let relay = format!("nats://{}", agent.relay_address().await?);
    let login = |password: &str| {
        async_nats::ConnectOptions::with_user_and_password("legacy".into(), password.into())
            .connect(&relay)
    };
    ensure!(login(GUESS).await.is_err());
    let client = login(LOCAL_PASSWORD).await?;
    let mut said = String::new();
    for contents in [
        &swapped,
        &Contents::new(&other, &authority.root_pem()),
        &swapped,
    ] {
        let before = agent.status().await?["last_reload"].clone();
        volume.update(contents)?;
        eventually(PATIENCE, "judged", || async {
            Ok((agent.status().await?["last_reload"] != before).then_some(()))
        })
        .await?;
        for path in ["/status", "/metrics", "/readyz", "/livez", "/startupz"] {
            said.push_str(&agent.get(path).await?.body);
        }
        for json in [false, true] {
            let check = AgentCommand::new("check")
                .volume(&volume)
                .environment("NATS_URL", &url);
            let check = if json {
                check.argument("--json")
            } else {
                check
            };
            let finished = check.run(PATIENCE).await?;
            said.push_str(&finished.stdout);
            said.push_str(&finished.stderr);
        }
    }
    let answer = eventually(PATIENCE, "the hook has failed", || async {
        let answer = agent.get("/status").await?.body;
        Ok(answer.contains("answers 500").then_some(answer))
    })
    .await?;
    said.push_str(&answer);
    // The key is where other processes are to find it, and nowhere else.
    let set = published::current(published.path());
    ensure!(published::read(&set)?.is_some(), "nothing was published");
    for entry in fs::read_dir(&set)? {
        let entry = entry?;
        let leaks = other.leak_in(&fs::read_to_string(entry.path())?);
        let mode = entry.metadata()?.mode() & 0o7777;
        let is_private = leaks.is_some() && mode == 0o600;
        let is_public = leaks.is_none() && mode == 0o644;
        ensure!(is_private || is_public, "{entry:?}: {mode:o} {leaks:?}");
    }
    client.flush().await?;
    drop(client);
    agent.terminate()?;
    agent.wait(PATIENCE).await?;
    let log = agent.stderr() + &agent.stdout();
    ensure!(
        log.len() > 20_000,
        "the log is not at TRACE: {} bytes",
        log.len()
    );
    ensure!(
        said.contains("nats_mtls_generation"),
        "the metrics were not read"
    );
    for (place, text) in [("the log", &log), ("an answer", &said)] {
        for secret in [PASSWORD, LOCAL_PASSWORD, GUESS, HOOK_PATH, HOOK_TOKEN] {
            ensure!(!text.contains(secret), "{place} holds {secret}");
        }
        for key in [&identity, &other] {
            let leak = key.leak_in(text);
            ensure!(leak.is_none(), "{place} holds a key: {leak:?}");
        }
    }
    Ok(())
}
