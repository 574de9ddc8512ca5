//! `nats-mtls-agent wait` against a real nats-server: it returns once NATS accepts the files, tells
//! silence from refusal, and leaves no connection behind.

use std::fs::File;
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nats_mtls_tests::agent::{self, AgentCommand};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
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

/// At a terminal one line that is written over; everywhere else, as in an init container, lines of
/// a log (every other test here).
#[tokio::test]
async fn a_person_at_a_terminal_sees_progress_in_one_line() -> Result<()> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let files = PlainFiles::empty()?;
    let binary = agent::binary().await?;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let name = ptsname(&terminal, Vec::new())?.into_string()?;
    let mut command = Command::new(binary);
    command.args(["wait", "--startup-budget", "1500ms"]);
    for (flag, part) in [
        ("--cert", Part::Certificate),
        ("--key", Part::Key),
        ("--ca", Part::Roots),
    ] {
        command.arg(flag).arg(files.path(part));
    }
    command.env_clear().env("TERM", "xterm");
    command.stderr(File::options().write(true).open(name)?);
    let mut child = command.spawn()?;
    // Closes our copy of the other end, so that the end of the agent is the end of the text.
    drop(command);
    let seen = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        // Linux says EIO, not end of file, once nobody has the other end open.
        File::from(terminal).read_to_end(&mut text).ok();
        let status = child.wait();
        (String::from_utf8_lossy(&text).into_owned(), status)
    });
    let (text, status) = tokio::time::timeout(PATIENCE, seen).await??;
    assert_eq!(status?.code(), Some(1), "{text}");
    let (announced, rest) = text.split_once("\r\n").unwrap_or_default();
    ensure!(announced.contains("waiting up to 1s 500ms"), "{text}");
    let (progress, told) = rest.split_once("\r\n").unwrap_or_default();
    // Each time the line is cleared and written again.
    let lines: Vec<_> = progress.split("\r\u{1b}[2K").skip(1).collect();
    let is_progress = |line: &&str| line.starts_with("waiting for a valid set, ");
    ensure!(
        lines.iter().filter(|line| is_progress(line)).count() > 1,
        "{text}"
    );
    let last = lines.last().copied().unwrap_or_default();
    ensure!(last.starts_with("error: no valid set within "), "{text}");
    ensure!(
        told.contains("read_error") && told.contains("What to do"),
        "{text}"
    );
    Ok(())
}
