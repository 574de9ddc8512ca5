//! The blocks of the README can be pasted: each command line of the agent runs as it stands against a
//! real server, with nothing changed but hosts, ports and paths. (The Rust block is compiled as a
//! documentation test of this crate, the snippets of Python and JavaScript are those of
//! `unmodified_clients_do_not_notice`.)

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use async_nats::ConnectOptions;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec, Usage};
use nats_mtls_tests::process::Process;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use nats_mtls_tests::{agent, http};
use serde_json::Value;
use tempfile::TempDir;

/// The command lines of the agent below a heading, each as one line.
fn commands(heading: &str) -> Result<Vec<String>> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme)?.replace("\\\n", " ");
    let (_, section) = readme.split_once(heading).context("no such heading")?;
    let (_, block) = section.split_once("```sh\n").context("no block")?;
    let (block, _) = block.split_once("\n```").context("no end")?;
    let lines = block
        .lines()
        .filter(|line| line.contains("nats-mtls-agent "));
    Ok(lines.map(str::to_owned).collect())
}

/// A folder with the files that the blocks name, and a server.
struct Desk {
    authority: Authority,
    server: NatsServer,
    folder: TempDir,
    http: u16,
    listen: u16,
}

impl Desk {
    async fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let folder = tempfile::tempdir()?;
        let pid_file = folder.path().join("nats.pid");
        let published = folder.path().join("nats-tls");
        fs::create_dir(&published)?;
        // What nats-server starts with, before there is an agent.
        let own = authority.issue(&LeafSpec::server().usages([Usage::ServerAuth]));
        let settings = ServerSettings::new(&authority).with_identity(&own);
        let settings = settings.line(&format!("pid_file: {pid_file:?}"));
        let server = NatsServer::start(settings).await?;
        let listeners = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let desk = Self {
            http: listeners[0].local_addr()?.port(),
            listen: listeners[1].local_addr()?.port(),
            authority,
            server,
            folder,
        };
        desk.write("tls", &desk.authority.issue(&LeafSpec::client("orders")))?;
        desk.write("server", &own)?;
        fs::write(desk.folder.path().join("ca.crt"), desk.authority.root_pem())?;
        Ok(desk)
    }

    fn write(&self, name: &str, identity: &Identity) -> Result<()> {
        let path = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        fs::write(path("crt"), identity.chain_pem())?;
        Ok(fs::write(path("key"), identity.key_pem())?)
    }

    /// What a shell would run here.
    async fn adapt(&self, line: &str) -> Result<Command> {
        let program = agent::binary().await?.display().to_string();
        let here = |name: &str| self.folder.path().join(name).display().to_string();
        // A group of this user, instead of one that the machine has not.
        let group = rustix::process::getgid().as_raw().to_string();
        let line = line
            .replace("target/release/nats-mtls-agent", "nats-mtls-agent")
            .replace("nats-mtls-agent ", &format!("exec {program} "))
            .replace("tls://nats.example.com:4222", &self.server.url())
            .replace("127.0.0.1:4222", &format!("127.0.0.1:{}", self.listen))
            .replace("http://127.0.0.1:8222", &self.server.monitoring_url(""))
            .replace("/run/nats-tls", &here("nats-tls"))
            .replace("/run/nats/nats.pid", &here("nats.pid"))
            .replace(
                "--publish-group orders",
                &format!("--publish-group {group}"),
            );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line]).current_dir(self.folder.path());
        command.env("NATS_MTLS_HTTP", format!("127.0.0.1:{}", self.http));
        Ok(command)
    }

    async fn run(&self, line: &str) -> Result<Process> {
        Process::start("agent", &mut self.adapt(line).await?, self.folder.path())
    }

    async fn has(&self, pointer: &str, wanted: impl Into<Value>) -> Result<()> {
        let wanted = wanted.into();
        let url = format!("http://127.0.0.1:{}/status", self.http);
        eventually(PATIENCE, &format!("{pointer} is {wanted}"), || async {
            let status: Value = http::get(&url).await?.json()?;
            ensure!(status.pointer(pointer) == Some(&wanted), "{status}");
            Ok(Some(()))
        })
        .await
    }
}

#[tokio::test]
async fn use_2_check_and_relay() -> Result<()> {
    let desk = Desk::new().await?;
    let lines = commands("## Use 2")?;
    let [check, run] = lines.as_slice() else {
        anyhow::bail!("{lines:?}");
    };
    let checked = desk.adapt(check).await?.output()?;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success(), "{said}");

    let _agent = desk.run(run).await?;
    let url = format!("nats://127.0.0.1:{}", desk.listen);
    let client = eventually(PATIENCE, "a client is let in", || async {
        Ok(Some(ConnectOptions::new().connect(&url).await?))
    })
    .await?;
    let mut messages = client.subscribe("orders.new").await?;
    client.flush().await?;
    client.publish("orders.new", "an order".into()).await?;
    let message = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut messages));
    ensure!(
        message
            .await?
            .is_some_and(|message| message.payload == "an order")
    );

    // Use 3, with the agent of use 2.
    let metrics = http::get(&format!("http://127.0.0.1:{}/metrics", desk.http)).await?;
    let metric = "nats_mtls_certificate_not_after_timestamp_seconds{";
    ensure!(
        metrics
            .body
            .lines()
            .any(|line| line.starts_with(metric) && line.contains("role=\"leaf\"")),
        "{}",
        metrics.body
    );
    Ok(())
}

#[tokio::test]
async fn beside_nats_server() -> Result<()> {
    let mut desk = Desk::new().await?;
    let lines = commands("### Beside nats-server")?;
    let [run] = lines.as_slice() else {
        anyhow::bail!("{lines:?}");
    };
    let _agent = desk.run(run).await?;
    desk.has("/publish/result", "published").await?;
    // The server is told to read what is published, as the README says.
    let published = desk.folder.path().join("nats-tls");
    desk.server
        .reconfigure(|settings| settings.identity_in(&published))?;
    desk.server.reload().await?;
    desk.has("/confirm/result", "confirmed").await?;
    let renewed = desk
        .authority
        .issue(&LeafSpec::server().usages([Usage::ServerAuth]));
    desk.write("server", &renewed)?;
    desk.has("/notify/signal/generation", 2).await?;
    desk.has("/notify/signal/result", "ok").await?;
    desk.has("/confirm/generation", 2).await?;
    desk.has("/confirm/result", "confirmed").await
}

#[tokio::test]
async fn files_for_a_process_that_reads_its_own() -> Result<()> {
    let desk = Desk::new().await?;
    let lines = commands("### Files for a process")?;
    let [run] = lines.as_slice() else {
        anyhow::bail!("{lines:?}");
    };
    let _agent = desk.run(run).await?;
    desk.has("/publish/result", "published").await?;
    for name in ["tls.crt", "tls.key", "ca.crt", "tls-combined.pem"] {
        ensure!(
            desk.folder.path().join("nats-tls").join(name).is_file(),
            "{name}"
        );
    }
    Ok(())
}
