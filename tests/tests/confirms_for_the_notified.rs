//! Whoever is told about a rotation is the one that is looked at: with `--confirm-name` every
//! connection of that name has to show the new certificate, on whichever server it is. That the
//! agent's own connection has moved proves nothing about a service that did not listen.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use async_nats::{Client, ConnectOptions};
use futures_util::future::try_join_all;
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::metrics::Scrape;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::process::Process;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

const SERVICE: &str = "orders";
/// More than the agent asks for at once.
const OTHERS: usize = 1_100;
/// At the same time, so that a slow machine is done with each before it is too late.
const BATCH: usize = 20;

struct Bench {
    authority: Authority,
    identity: Identity,
    files: PlainFiles,
    folder: TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client(SERVICE));
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("published"))?;
        Ok(Self {
            authority,
            identity,
            files,
            folder,
        })
    }

    fn command(&self, monitoring: &[&NatsServer]) -> Result<AgentCommand> {
        let urls: Vec<_> = monitoring
            .iter()
            .map(|one| one.monitoring_url(""))
            .collect();
        AgentCommand::new("run")
            .plain_files(&self.files)
            .flag("--publish-dir", self.folder.path().join("published"))
            .flag("--confirm-url", urls.join(","))
            .flag("--confirm-within", "3s")
            .flag("--poll-interval", "100ms")
            .flag("--spread", "0s")
            .http()
    }

    fn renew(&mut self) -> Result<()> {
        self.identity = self.authority.renew(&self.identity);
        let contents = Contents::new(&self.identity, &self.authority.root_pem());
        self.files.rename_over(&contents)
    }

    /// A service that reads what is published each time it connects, and never by itself.
    async fn service(&self, server: &NatsServer) -> Result<Client> {
        let published = self.folder.path().join("published");
        let certificate = published.join("tls.crt");
        eventually(PATIENCE, "a set is published", || async {
            Ok(certificate.exists().then_some(()))
        })
        .await?;
        let options = ConnectOptions::new()
            .name(SERVICE)
            .require_tls(true)
            .add_root_certificates(published.join("ca.crt"))
            .add_client_certificate(certificate, published.join("tls.key"));
        Ok(options.connect(server.url()).await?)
    }

    /// Its process, as far as signals go: writes down what it hears, or ignores it.
    async fn process(&self, hears: bool) -> Result<Process> {
        let (heard, pid_file) = (self.heard(), self.pid_file());
        let trap = if hears {
            format!("trap 'echo HUP >> {}' HUP", heard.display())
        } else {
            "trap '' HUP".to_owned()
        };
        let script = format!(
            "{trap}; echo $$ > {}; while :; do sleep 0.05; done",
            pid_file.display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let process = Process::start("service", &mut command, self.folder.path())?;
        eventually(PATIENCE, "a pid file", || async {
            let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
            Ok(pid.ends_with('\n').then_some(()))
        })
        .await?;
        Ok(process)
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("service.pid")
    }

    fn heard(&self) -> PathBuf {
        self.folder.path().join("heard")
    }
}

async fn has_heard(path: &Path) -> Result<()> {
    eventually(PATIENCE, "the signal is heard", || async {
        Ok(path.exists().then_some(()))
    })
    .await
}

async fn verdict(agent: &Agent, generation: u64, result: &str) -> Result<Value> {
    eventually(PATIENCE, &format!("{result} for {generation}"), || async {
        let confirm = agent.status().await?["confirm"].clone();
        ensure!(
            confirm["result"] == result && confirm["generation"] == generation,
            "{confirm}"
        );
        Ok(Some(confirm))
    })
    .await
}

#[tokio::test]
async fn a_service_that_ignores_the_signal_is_not_confirmed_and_one_that_follows_is() -> Result<()>
{
    for hears in [false, true] {
        let mut bench = Bench::new()?;
        let server = NatsServer::start(ServerSettings::new(&bench.authority)).await?;
        let _process = bench.process(hears).await?;
        // The agent has a connection of its own, which moves by itself: it must not count.
        let agent = bench
            .command(&[&server])?
            .flag("--server", server.url())
            .flag("--confirm-name", SERVICE)
            .flag("--on-rotate-signal", "HUP")
            .flag("--pid-file", bench.pid_file())
            .start()
            .await?;
        let service = bench.service(&server).await?;
        let confirm = verdict(&agent, 1, "confirmed").await?;
        ensure!(confirm["target"] == "clients", "{confirm}");

        let old = bench.identity.fingerprint().to_owned();
        bench.renew()?;
        if hears {
            has_heard(&bench.heard()).await?;
            service.force_reconnect().await?;
        } else {
            let confirm = verdict(&agent, 2, "not_confirmed").await?;
            let reason = confirm["reason"].as_str().unwrap_or_default();
            ensure!(
                reason.contains(SERVICE) && reason.contains(&old),
                "{confirm}"
            );
            let own = server.connection("nats-mtls-agent").await?;
            ensure!(
                own.is_some_and(|own| own.fingerprint() == Some(bench.identity.fingerprint())),
                "the agent's own connection should have moved"
            );
            let status = agent.status().await?;
            ensure!(status["notify"]["signal"]["result"] == "ok", "{status}");
            let claims = agent.stderr().matches("shows the new certificate").count();
            ensure!(claims == 1, "of the first set alone: {}", agent.stderr());
            let scrape = Scrape(agent.get("/metrics").await?.body);
            let labels = [("target", "clients"), ("result", "not_confirmed")];
            ensure!(scrape.count("nats_mtls_confirm_state", &labels)? == 1);
            // Somebody sees to it: late is not never.
            service.force_reconnect().await?;
        }
        verdict(&agent, 2, "confirmed").await?;
        server
            .sees(SERVICE, bench.identity.fingerprint(), PATIENCE)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_of_that_name_is_not_confirmed() -> Result<()> {
    let bench = Bench::new()?;
    let server = NatsServer::start(ServerSettings::new(&bench.authority)).await?;
    let agent = bench
        .command(&[&server])?
        .flag("--server", server.url())
        .flag("--confirm-name", "order")
        .start()
        .await?;
    let _service = bench.service(&server).await?;
    let confirm = verdict(&agent, 1, "not_confirmed").await?;
    let reason = confirm["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("no connection"), "{confirm}");
    Ok(())
}

/// One of several that stayed behind is enough, on whichever server and page it is.
#[tokio::test]
async fn every_connection_of_the_name_counts_on_every_server_and_page() -> Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let mut bench = Bench::new()?;
    let settings = ServerSettings::new(&bench.authority);
    let servers = NatsServer::start_cluster(settings, 2).await?;
    let [one, two] = servers.as_slice() else {
        anyhow::bail!("two servers");
    };
    let agent = bench
        .command(&[one, two])?
        .flag("--confirm-name", SERVICE)
        .start()
        .await?;
    let first = bench.service(one).await?;
    let crowd = bench.authority.issue(&LeafSpec::client("crowd"));
    let crowd = TlsVersion::Tls13.fixed_config(&crowd, &bench.authority.root_pem())?;
    let mut others = Vec::new();
    for _ in 0..OTHERS / BATCH {
        let batch = (0..BATCH).map(|_| {
            let options = ConnectOptions::new().name("crowd").require_tls(true);
            let options = options.tls_client_config(crowd.clone());
            options.connect(two.url())
        });
        others.extend(try_join_all(batch).await?);
    }
    let last = bench.service(two).await?;
    verdict(&agent, 1, "confirmed").await?;

    let old = bench.identity.fingerprint().to_owned();
    bench.renew()?;
    eventually(PATIENCE, "published", || async {
        Ok((agent.status().await?["publish"]["generation"] == 2).then_some(()))
    })
    .await?;
    first.force_reconnect().await?;
    let confirm = verdict(&agent, 2, "not_confirmed").await?;
    let reason = confirm["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains(&old) && reason.contains(&two.monitoring_url("")),
        "{confirm}"
    );
    last.force_reconnect().await?;
    verdict(&agent, 2, "confirmed").await?;
    drop(others);
    Ok(())
}
