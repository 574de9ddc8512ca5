//! The agent renews nats-server's own certificate under connected clients: validated, published,
//! SIGHUP, confirmed by a handshake. None of them is disconnected. A server that does not take it
//! is reported as not confirmed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::connz::Connection;
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::http;
use nats_mtls_tests::metrics::Scrape;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec, Usage};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use serde_json::Value;
use tempfile::TempDir;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

const CLIENTS: usize = 50;

/// A server that reads what the agent publishes.
struct Bench {
    authority: Authority,
    identity: Identity,
    files: PlainFiles,
    server: NatsServer,
    folder: TempDir,
}

impl Bench {
    /// An earlier agent has published the first set, and the server has started with it.
    async fn start() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&own(30));
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("published"))?;
        let publisher = publisher(&files, &folder)?.start().await?;
        field(&publisher, "/publish/result", "published").await?;
        publisher.terminate()?;
        publisher.wait(PATIENCE).await?;
        let pid_file = folder.path().join("nats.pid");
        let settings = ServerSettings::new(&authority)
            .identity_in(&folder.path().join("published"))
            .line(&format!("pid_file: {pid_file:?}"));
        let server = NatsServer::start(settings).await?;
        Ok(Self {
            authority,
            identity,
            files,
            server,
            folder,
        })
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("nats.pid")
    }

    fn command(&self) -> Result<AgentCommand> {
        Ok(publisher(&self.files, &self.folder)?
            .flag("--confirm-url", self.server.monitoring_url(""))
            .flag("--confirm-within", "3s"))
    }

    /// With a validity that `/varz` can be recognised by.
    fn renew(&mut self, days: i64) -> Result<()> {
        self.identity = self.authority.issue(&own(days));
        let contents = Contents::new(&self.identity, &self.authority.root_pem());
        self.files.rename_over(&contents)
    }

    async fn connect(&self, name: &str, disconnects: &Arc<AtomicU64>) -> Result<Client> {
        let identity = self.authority.issue(&LeafSpec::client(name));
        let roots = self.authority.root_pem();
        let disconnects = Arc::clone(disconnects);
        let options = ConnectOptions::new()
            .name(name)
            .require_tls(true)
            .tls_client_config(TlsVersion::Tls13.fixed_config(&identity, &roots)?)
            .event_callback(move |event| {
                if event == Event::Disconnected {
                    disconnects.fetch_add(1, Ordering::Relaxed);
                }
                std::future::ready(())
            });
        Ok(options.connect(self.server.url()).await?)
    }

    async fn clients(&self) -> Result<Vec<(u64, String)>> {
        let of = |connection: Connection| (connection.cid, connection.name);
        let all = self.server.connections().await?.into_iter().map(of);
        Ok(all.filter(|(_, name)| name.starts_with("client")).collect())
    }

    /// When the server's certificate ends, as its monitoring says.
    async fn not_after(&self) -> Result<OffsetDateTime> {
        let varz: Value = http::get(&self.server.monitoring_url("/varz"))
            .await?
            .json()?;
        let text = varz["tls_cert_not_after"].as_str();
        Ok(OffsetDateTime::parse(
            text.context("no tls_cert_not_after")?,
            &Rfc3339,
        )?)
    }

    fn reloads(&self) -> usize {
        self.server
            .log()
            .matches("Reloaded server configuration")
            .count()
    }
}

/// Good for a server and for nothing else.
fn own(days: i64) -> LeafSpec {
    LeafSpec::server()
        .usages([Usage::ServerAuth])
        .valid(Duration::hours(-1), Duration::days(days))
}

fn publisher(files: &PlainFiles, folder: &TempDir) -> Result<AgentCommand> {
    AgentCommand::new("run")
        .plain_files(files)
        .flag("--usage", "server")
        .flag("--publish-dir", folder.path().join("published"))
        .flag("--poll-interval", "100ms")
        .flag("--spread", "0s")
        .http()
}

/// Waits until the status says so.
async fn field(agent: &Agent, pointer: &str, wanted: impl Into<Value>) -> Result<()> {
    let wanted = wanted.into();
    eventually(PATIENCE, &format!("{pointer} is {wanted}"), || async {
        let status = agent.status().await?;
        ensure!(status.pointer(pointer) == Some(&wanted), "{status}");
        Ok(Some(()))
    })
    .await
}

async fn verdict(agent: &Agent, generation: u64, result: &str) -> Result<Value> {
    eventually(PATIENCE, &format!("{result} for {generation}"), || async {
        let confirm = agent.status().await?["confirm"].clone();
        ensure!(
            confirm["generation"] == generation && confirm["result"] == result,
            "{confirm}"
        );
        Ok(Some(confirm))
    })
    .await
}

/// These lines, in this order.
fn in_order(log: &str, lines: &[&str]) -> Result<()> {
    let mut rest = log;
    for line in lines {
        let (_, after) = rest
            .split_once(line)
            .with_context(|| format!("no {line:?} then:\n{log}"))?;
        rest = after;
    }
    Ok(())
}

#[tokio::test]
async fn fifty_clients_do_not_notice() -> Result<()> {
    let mut bench = Bench::start().await?;
    let disconnects = Arc::default();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(
            bench
                .connect(&format!("client-{number}"), &disconnects)
                .await?,
        );
    }
    let before = bench.clients().await?;
    ensure!(before.len() == CLIENTS, "{before:?}");
    let agent = bench
        .command()?
        .flag("--on-rotate-signal", "HUP")
        .flag("--pid-file", bench.pid_file())
        .start()
        .await?;
    // What the server started with is confirmed without a signal.
    let confirm = verdict(&agent, 1, "confirmed").await?;
    ensure!(confirm["target"] == "server", "{confirm}");
    ensure!(bench.reloads() == 0);

    for generation in 2..=4_u64 {
        let days = 30 + i64::try_from(generation)?;
        bench.renew(days)?;
        verdict(&agent, generation, "confirmed").await?;
        field(&agent, "/publish/generation", generation).await?;
        field(&agent, "/notify/signal/generation", generation).await?;
        field(&agent, "/notify/signal/result", "ok").await?;
        let expected = OffsetDateTime::now_utc() + Duration::days(days);
        let shown = bench.not_after().await?;
        ensure!(
            (shown - expected).abs() < Duration::minutes(10),
            "{shown}, not {expected}"
        );
        ensure!(
            bench.reloads() == usize::try_from(generation)? - 1,
            "{}",
            bench.server.log()
        );
        ensure!(
            bench.clients().await? == before,
            "somebody was disconnected"
        );
    }

    let closed = bench.server.closed_connections().await?;
    let lost: Vec<_> = closed
        .iter()
        .filter(|one| one.name.starts_with("client"))
        .collect();
    ensure!(lost.is_empty(), "{lost:?}");
    ensure!(disconnects.load(Ordering::Relaxed) == 0);
    for client in &clients {
        let mut messages = client.subscribe(client.new_inbox()).await?;
        messages.unsubscribe_after(1).await?;
        client.flush().await?;
    }
    // Whoever connects now is shown the new one and takes it.
    bench
        .connect("client-late", &disconnects)
        .await?
        .flush()
        .await?;
    in_order(
        &agent.stderr(),
        &[
            "published for other processes",
            "told: SIGHUP to process",
            "the server shows the new certificate",
        ],
    )
}

#[tokio::test]
async fn a_server_that_ignores_the_signal_is_not_confirmed() -> Result<()> {
    let mut bench = Bench::start().await?;
    let old = bench.identity.fingerprint().to_owned();
    // For nats-server that is "open your log again", and nothing else.
    let agent = bench
        .command()?
        .flag("--on-rotate-signal", "USR1")
        .flag("--pid-file", bench.pid_file())
        .start()
        .await?;
    verdict(&agent, 1, "confirmed").await?;
    bench.renew(60)?;
    let confirm = verdict(&agent, 2, "not_confirmed").await?;
    let reason = confirm["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains(&format!("presents {old}")), "{confirm}");
    field(&agent, "/notify/signal/result", "ok").await?;
    ensure!(bench.reloads() == 0);
    let scrape = Scrape(agent.get("/metrics").await?.body);
    let labels = [("target", "server"), ("result", "not_confirmed")];
    ensure!(scrape.count("nats_mtls_confirm_total", &labels)? == 1);
    ensure!(scrape.count("nats_mtls_confirm_state", &labels)? == 1);
    ensure!(agent.stderr().contains("not seen where it should be used"));
    // Somebody sees to it: late is not never.
    bench.server.reload().await?;
    verdict(&agent, 2, "confirmed").await?;
    let scrape = Scrape(agent.get("/metrics").await?.body);
    ensure!(scrape.count("nats_mtls_confirm_state", &labels)? == 0);
    Ok(())
}

#[tokio::test]
async fn a_server_that_refuses_to_reload_is_not_confirmed() -> Result<()> {
    let mut bench = Bench::start().await?;
    let agent = bench
        .command()?
        .flag("--on-rotate-signal", "HUP")
        .flag("--pid-file", bench.pid_file())
        .start()
        .await?;
    verdict(&agent, 1, "confirmed").await?;
    bench
        .server
        .reconfigure(|settings| settings.line("no_such_option: true"))?;
    bench.renew(60)?;
    verdict(&agent, 2, "not_confirmed").await?;
    field(&agent, "/notify/signal/result", "ok").await?;
    ensure!(
        bench.server.log().contains("Failed to reload"),
        "{}",
        bench.server.log()
    );
    Ok(())
}

#[tokio::test]
async fn a_renewal_while_the_agent_was_away_is_told_when_it_is_back() -> Result<()> {
    let mut bench = Bench::start().await?;
    bench.renew(60)?;
    let agent = bench
        .command()?
        .flag("--on-rotate-signal", "HUP")
        .flag("--pid-file", bench.pid_file())
        .start()
        .await?;
    verdict(&agent, 1, "confirmed").await?;
    field(&agent, "/notify/signal/generation", 1).await?;
    ensure!(bench.reloads() == 1, "{}", bench.server.log());
    Ok(())
}
