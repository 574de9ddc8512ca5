//! `nats-mtls-agent wait` against a real nats-server: it returns once NATS accepts the files, tells
//! silence from refusal, and leaves no connection behind.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};

fn contents(authority: &Authority, spec: &LeafSpec) -> Contents {
    Contents::new(&authority.issue(spec), &authority.root_pem())
}

fn wait(files: &PlainFiles, server: &NatsServer) -> AgentCommand {
    AgentCommand::new("wait")
        .plain_files(files)
        .flag("--server", server.url())
}

#[tokio::test]
async fn returns_once_files_and_server_are_there_and_leaves_nothing_behind() -> Result<()> {
    let authority = Authority::new("root");
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    server.stop().await?;
    let files = PlainFiles::empty()?;
    let waiting = wait(&files, &server).start().await?;

    eventually(PATIENCE, "it says what it waits for", || async {
        Ok(waiting.stderr().contains("waiting up to 30s").then_some(()))
    })
    .await?;
    files.rename_over(&contents(&authority, &LeafSpec::client("agent")))?;
    eventually(PATIENCE, "it tries the server", || async {
        Ok(waiting.stderr().contains("cannot connect").then_some(()))
    })
    .await?;
    server.restart().await?;
    let status = waiting.wait(PATIENCE).await?;
    ensure!(status.code() == Some(0), "{}", waiting.stderr());
    ensure!(
        waiting.stderr().contains("accepted by"),
        "{}",
        waiting.stderr()
    );
    eventually(PATIENCE, "no connection is left", || async {
        Ok(server.connections().await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_refusal_is_exit_code_one_with_its_cause_and_advice() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let stranger = Authority::new("stranger").issue(&LeafSpec::client("agent"));
    let files = PlainFiles::new(&Contents::new(&stranger, &authority.root_pem()))?;
    let refused = wait(&files, &server).flag("--startup-budget", "2s");
    let refused = refused.run(PATIENCE).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    let last = refused.stderr.lines().last().unwrap_or_default();
    ensure!(
        last.contains("the server refused the client certificate"),
        "{last}"
    );
    ensure!(last.contains("Check which CA and which users"), "{last}");
    Ok(())
}

#[tokio::test]
async fn a_renewal_while_it_is_refused_is_used() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let stranger = Authority::new("stranger").issue(&LeafSpec::client("agent"));
    let files = PlainFiles::new(&Contents::new(&stranger, &authority.root_pem()))?;
    let waiting = wait(&files, &server)
        .flag("--startup-budget", "1m")
        .start()
        .await?;
    eventually(PATIENCE, "it is refused", || async {
        Ok(waiting
            .stderr()
            .contains("refused the client certificate")
            .then_some(()))
    })
    .await?;
    files.rename_over(&contents(&authority, &LeafSpec::client("agent")))?;
    let status = waiting.wait(Duration::from_secs(30)).await?;
    ensure!(status.code() == Some(0), "{}", waiting.stderr());
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_exit_code_three() -> Result<()> {
    let authority = Authority::new("root");
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let files = PlainFiles::new(&contents(&authority, &LeafSpec::client("agent")))?;
    server.freeze().await?;
    let silent = wait(&files, &server).flag("--startup-budget", "1s");
    let silent = silent.run(PATIENCE).await?;
    ensure!(silent.code == Some(3), "{silent:?}");
    ensure!(silent.stderr.contains("no answer in time"), "{silent:?}");
    server.thaw()
}
