//! The agent under systemd, whose side is played here: it is told ready once the agent is ready and
//! not before, of each reload and its end, that the agent is alive, and that it stops.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::fatal::FatalServer;
use nats_mtls_tests::files::{Contents, KubernetesVolume, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout};

/// The other end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
    heard: Vec<String>,
}

impl Manager {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Ok(Self {
            socket: UnixDatagram::bind(directory.path().join("notify"))?,
            directory,
            heard: Vec::new(),
        })
    }

    /// Starts the agent as systemd would.
    async fn start(&self, command: AgentCommand) -> Result<Agent> {
        let socket = self.directory.path().join("notify");
        command
            .environment("NOTIFY_SOCKET", socket)
            .flag("--spread", "0s")
            .flag("--poll-interval", "250ms")
            .start()
            .await
    }

    /// The next message that has such a line; what came before it is kept in `heard`.
    async fn hears(&mut self, line: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = match timeout(left, self.next()).await {
                Ok(message) => message?,
                Err(_) => anyhow::bail!("never heard {line}, but {:?}", self.heard),
            };
            let is_it = message.lines().any(|one| one.starts_with(line));
            self.heard.push(message.clone());
            if is_it {
                return Ok(message);
            }
        }
    }

    async fn next(&self) -> Result<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).await?;
        let bytes = buffer.get(..length).context("a datagram")?;
        Ok(String::from_utf8(bytes.to_vec())?)
    }

    /// How often such a line was heard.
    fn count(&self, line: &str) -> usize {
        let lines = self.heard.iter().flat_map(|message| message.lines());
        lines.filter(|one| one.starts_with(line)).count()
    }
}

fn volume(authority: &Authority) -> Result<KubernetesVolume> {
    let identity = authority.issue(&LeafSpec::client("agent"));
    KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))
}

#[tokio::test]
async fn ready_is_told_when_the_agent_is_connected_and_not_before() -> Result<()> {
    let authority = Authority::new("root");
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    server.stop().await?;
    let volume = volume(&authority)?;
    let mut manager = Manager::new()?;
    let command = AgentCommand::new("run").volume(&volume).http()?;
    let agent = manager
        .start(command.flag("--server", server.url()))
        .await?;

    // Valid files alone are not enough; and nobody kills a start that waits.
    manager.hears("STATUS=not ready: connecting").await?;
    manager.hears("EXTEND_TIMEOUT_USEC=").await?;
    // A reload before the start is over: its end would look like the end of the start.
    agent.reload()?;
    eventually(PATIENCE, "it has reloaded", || async {
        Ok(agent.stderr().contains("reload: ").then_some(()))
    })
    .await?;
    ensure!(manager.count("READY=1") == 0, "{:?}", manager.heard);

    server.restart().await?;
    // Whatever was told about the reload comes before this.
    manager.hears("READY=1").await?;
    ensure!(manager.count("RELOADING=1") == 0, "{:?}", manager.heard);
    ensure!(manager.count("READY=1") == 1, "{:?}", manager.heard);
    ensure!(agent.get("/readyz").await?.status == 200);
    ensure!(
        manager.count("STATUS=ready: generation 1") == 1,
        "{:?}",
        manager.heard
    );

    // An outage later is said, and is no second start.
    server.stop().await?;
    manager.hears("STATUS=not ready: disconnected").await?;
    server.restart().await?;
    manager.hears("STATUS=ready: generation 1").await?;
    ensure!(manager.count("READY=1") == 1, "{:?}", manager.heard);
    Ok(())
}

#[tokio::test]
async fn a_reload_is_told_with_the_time_and_so_is_its_end() -> Result<()> {
    let authority = Authority::new("root");
    let mut volume = volume(&authority)?;
    let mut manager = Manager::new()?;
    let command = AgentCommand::new("run").volume(&volume).http()?;
    let agent = manager.start(command.flag("--preflight", "off")).await?;
    manager.hears("READY=1").await?;

    let next = authority.issue(&LeafSpec::client("agent"));
    volume.update(&Contents::new(&next, &authority.root_pem()))?;
    let before = monotonic_microseconds()?;
    agent.reload()?;
    let reloading = manager.hears("RELOADING=1").await?;
    let time = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .with_context(|| format!("no time in the same message: {reloading:?}"))?;
    let time: i64 = time.parse()?;
    let after = monotonic_microseconds()?;
    ensure!((before..=after).contains(&time), "{before} {time} {after}");
    manager.hears("READY=1").await?;
    manager.hears("STATUS=ready: generation 2").await?;
    Ok(())
}

#[tokio::test]
async fn the_watchdog_is_fed_and_the_end_is_told() -> Result<()> {
    let authority = Authority::new("root");
    let volume = volume(&authority)?;
    let mut manager = Manager::new()?;
    let command = AgentCommand::new("run")
        .volume(&volume)
        .flag("--http", "off")
        .environment("WATCHDOG_USEC", "600000");
    let agent = manager.start(command).await?;
    manager.hears("READY=1").await?;
    for _ in 0..5 {
        let fed = timeout(Duration::from_millis(600), manager.hears("WATCHDOG=1")).await;
        fed.context("systemd would have killed it")??;
    }
    agent.terminate()?;
    manager.hears("STOPPING=1").await?;
    let ended = agent.wait(PATIENCE).await?;
    ensure!(ended.code() == Some(0), "{ended}: {}", agent.stderr());
    Ok(())
}

#[tokio::test]
async fn the_watchdog_starves_when_liveness_fails() -> Result<()> {
    let authority = Authority::new("root");
    let server = FatalServer::start(&authority).await?;
    let volume = volume(&authority)?;
    let mut manager = Manager::new()?;
    let command = AgentCommand::new("run")
        .volume(&volume)
        .flag("--server", server.url())
        .argument("--tls-first")
        .environment("WATCHDOG_USEC", "900000")
        .http()?;
    let agent = manager.start(command).await?;
    manager.hears("READY=1").await?;
    manager.hears("WATCHDOG=1").await?;

    server.strike();
    manager
        .hears("STATUS=not alive: connection_closed: ")
        .await?;
    // Several times as long as systemd would wait; the process lives and could send.
    let fed = timeout(Duration::from_secs(4), manager.hears("WATCHDOG=1")).await;
    ensure!(fed.is_err(), "{:?}", manager.heard);
    ensure!(agent.get("/livez").await?.status == 503);
    Ok(())
}

#[tokio::test]
async fn no_sign_of_life_is_sent_that_nobody_asked_for() -> Result<()> {
    let authority = Authority::new("root");
    let volume = volume(&authority)?;
    let mut manager = Manager::new()?;
    // Somebody else's watchdog: the variable was inherited.
    let command = AgentCommand::new("run")
        .volume(&volume)
        .flag("--http", "off")
        .environment("WATCHDOG_USEC", "1000")
        .environment("WATCHDOG_PID", "1");
    let agent = manager.start(command).await?;
    manager.hears("READY=1").await?;
    agent.terminate()?;
    manager.hears("STOPPING=1").await?;
    ensure!(manager.count("WATCHDOG=1") == 0, "{:?}", manager.heard);
    Ok(())
}

#[tokio::test]
async fn a_start_that_is_told_to_end_was_never_ready() -> Result<()> {
    let files = PlainFiles::empty()?;
    let mut manager = Manager::new()?;
    let command = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--http", "off");
    let agent = manager.start(command).await?;
    manager.hears("STATUS=not ready: no_material").await?;
    agent.terminate()?;
    manager.hears("STOPPING=1").await?;
    ensure!(agent.wait(PATIENCE).await?.code() == Some(0));
    ensure!(manager.count("READY=1") == 0, "{:?}", manager.heard);
    Ok(())
}

/// Whoever starts after us reads what we publish.
#[tokio::test]
async fn a_start_is_not_over_before_the_set_is_published() -> Result<()> {
    let authority = Authority::new("root");
    let volume = volume(&authority)?;
    let directory = tempfile::tempdir()?;
    let foreign = directory.path().join("tls.key");
    std::fs::write(&foreign, "of somebody else")?;
    let mut manager = Manager::new()?;
    let command = AgentCommand::new("run")
        .volume(&volume)
        .flag("--publish-dir", directory.path())
        .http()?;
    let agent = manager.start(command).await?;
    let heard = manager
        .hears("STATUS=ready, but not started: not_published: ")
        .await?;
    ensure!(heard.contains("tls.key"), "{heard}");
    manager.hears("EXTEND_TIMEOUT_USEC=").await?;
    let start = agent.get("/startupz").await?;
    ensure!(start.status == 503, "{}", start.body);
    ensure!(
        start.body.starts_with("not_published: ") && start.body.contains("tls.key"),
        "{}",
        start.body
    );
    // What needs the agent itself is served.
    ensure!(agent.get("/readyz").await?.status == 200);
    ensure!(manager.count("READY=1") == 0, "{:?}", manager.heard);

    std::fs::remove_file(&foreign)?;
    manager.hears("READY=1").await?;
    ensure!(agent.get("/startupz").await?.status == 200);
    ensure!(std::fs::read_to_string(&foreign)?.contains("PRIVATE KEY"));

    // A directory that goes bad later is no second start.
    std::fs::remove_file(&foreign)?;
    std::fs::write(&foreign, "of somebody else")?;
    ensure!(agent.get("/startupz").await?.status == 200);
    Ok(())
}

fn monotonic_microseconds() -> Result<i64> {
    let now = clock_gettime(ClockId::Monotonic);
    Ok(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
}
