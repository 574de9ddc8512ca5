//! What is said to be copied beside nats-server works when it is: the arguments and variables of the
//! Kubernetes overlay and of the systemd example, and the server configuration that stands beside each,
//! with nothing changed but paths, ports and the name of the program.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::connz::Connections;
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::http;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec, Usage};
use nats_mtls_tests::process::Process;
use nats_mtls_tests::server;
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use serde_json::Value;
use tempfile::TempDir;

/// The user that the server configuration of the overlay knows.
const CLIENT: &str = "orders.example.com";

/// A pool of three, and one of the system account.
const ROUTES: usize = 4;

/// A pod, or a machine: one agent, one server.
struct Place {
    authority: Authority,
    files: PlainFiles,
    folder: TempDir,
    client: u16,
    monitoring: u16,
    routes: u16,
    program: String,
}

impl Place {
    fn new(program: &str) -> Result<Self> {
        let authority = Authority::new("root");
        let identity = own(&authority);
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("published"))?;
        // Others on this machine run servers too, under its own name.
        fs::copy(server::binary()?, folder.path().join(program))?;
        let ports = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        Ok(Self {
            authority,
            files,
            client: ports[0].local_addr()?.port(),
            monitoring: ports[1].local_addr()?.port(),
            routes: ports[2].local_addr()?.port(),
            program: program.to_owned(),
            folder,
        })
    }

    /// Moves a text to this place.
    fn adapt(&self, text: &str, source: &str, published: &str) -> String {
        let directory = self.folder.path().join("published");
        text.replace(published, &directory.display().to_string())
            .replace(source, &self.files.directory().display().to_string())
            .replace("127.0.0.1:8222", &format!("127.0.0.1:{}", self.monitoring))
            .replace(
                "http: 8222",
                &format!("http: \"127.0.0.1:{}\"", self.monitoring),
            )
            .replace("port: 4222", &format!("port: {}", self.client))
            .replace(
                "port: 6222",
                &format!("host: 127.0.0.1\n    port: {}", self.routes),
            )
            .replace(
                "nats-0.nats.nats.svc:6222",
                &format!("127.0.0.1:{}", self.routes),
            )
            .replace("nats-server", &self.program)
    }

    fn start_server(&self, config: &str) -> Result<Process> {
        self.start(&self.program, config)
    }

    /// Another of the same cluster, on other ports, that reads the same published files. Its program has
    /// another name, so that the agent does not mean it.
    fn start_neighbour(&self, config: &str) -> Result<Process> {
        let program = format!("neighbour-of-{}", self.program);
        fs::copy(server::binary()?, self.folder.path().join(&program))?;
        let config = [self.client, self.monitoring, self.routes]
            .iter()
            .try_fold(config.to_owned(), |config, port| {
                let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
                // Only where it listens; its route goes to the first server.
                let own = config.replace(&format!("port: {port}"), &format!("port: {free}"));
                anyhow::Ok(own.replace(
                    &format!("http: \"127.0.0.1:{port}"),
                    &format!("http: \"127.0.0.1:{free}"),
                ))
            })?;
        self.start(&program, &config)
    }

    fn start(&self, program: &str, config: &str) -> Result<Process> {
        let path = self.folder.path().join(format!("{program}.conf"));
        fs::write(&path, format!("host: 127.0.0.1\n{config}"))?;
        let mut command = Command::new(self.folder.path().join(program));
        command.arg("--config").arg(path);
        Process::start("nats-server", &mut command, self.folder.path())
    }

    async fn connect(&self) -> Result<Client> {
        let identity = self
            .authority
            .issue(&LeafSpec::client("orders").dns(CLIENT));
        let config = TlsVersion::Tls13.fixed_config(&identity, &self.authority.root_pem())?;
        let options = ConnectOptions::new().require_tls(true);
        let options = options.tls_client_config(config);
        let url = format!("tls://127.0.0.1:{}", self.client);
        eventually(PATIENCE, "a client is let in", || async {
            Ok(Some(options.clone().connect(&url).await?))
        })
        .await
    }

    /// The numbers of the connections on the server.
    async fn connections(&self) -> Result<Vec<u64>> {
        let url = format!("http://127.0.0.1:{}/connz", self.monitoring);
        let all: Connections = http::get(&url).await?.json()?;
        Ok(all.connections.iter().map(|one| one.cid).collect())
    }

    /// Whom the first server has routes to.
    async fn route_ids(&self) -> Result<Vec<u64>> {
        let url = format!("http://127.0.0.1:{}/routez", self.monitoring);
        let routes: Value = http::get(&url).await?.json()?;
        let routes = routes["routes"].as_array().context("no routes")?;
        let routes = routes.iter().filter_map(|one| one["rid"].as_u64());
        let mut routes: Vec<_> = routes.collect();
        routes.sort_unstable();
        Ok(routes)
    }

    /// As many as servers keep between two, so that none is still to come or to go.
    async fn routes_are_up(&self) -> Result<Vec<u64>> {
        eventually(PATIENCE, "the routes are up", || async {
            let routes = self.route_ids().await?;
            ensure!(routes.len() == ROUTES, "{routes:?}");
            Ok(Some(routes))
        })
        .await
    }

    /// The agent first, as both manifests order it; then three renewals under one client.
    async fn rotates(&self, command: AgentCommand, config: &str) -> Result<()> {
        let agent = command.http()?.start().await?;
        eventually(PATIENCE, "published", || async {
            Ok((agent.status().await?["publish"]["result"] == "published").then_some(()))
        })
        .await?;
        let _server = self.start_server(config)?;
        let client = self.connect().await?;
        let mut neighbour = None;
        let mut routes = Vec::new();
        if config.contains("cluster {") {
            neighbour = Some(self.start_neighbour(config)?);
            routes = self.routes_are_up().await?;
        }
        confirmed(&agent, 1).await?;
        let before = self.connections().await?;
        ensure!(before.len() == 1, "{before:?}");
        for generation in 2..=4 {
            let identity = own(&self.authority);
            self.files
                .rename_over(&Contents::new(&identity, &self.authority.root_pem()))?;
            confirmed(&agent, generation).await?;
            let status = agent.status().await?;
            let signal = &status["notify"]["signal"];
            ensure!(signal["result"] == "ok", "{status}");
            ensure!(signal["generation"] == generation, "{status}");
            ensure!(self.connections().await? == before, "it was disconnected");
        }
        if let Some(first) = neighbour {
            ensure!(self.route_ids().await? == routes, "a route was closed");
            // The renewed certificate is good for new routes, too.
            drop(first);
            let _again = self.start_neighbour(config)?;
            let others = self.routes_are_up().await?;
            ensure!(
                others.iter().all(|route| !routes.contains(route)),
                "{others:?}"
            );
        }
        client.flush().await?;
        Ok(())
    }
}

fn own(authority: &Authority) -> Identity {
    authority.issue(&LeafSpec::server().usages([Usage::ServerAuth, Usage::ClientAuth]))
}

async fn confirmed(agent: &Agent, generation: u64) -> Result<()> {
    let what = format!("the server shows generation {generation}");
    eventually(PATIENCE, &what, || async {
        let confirm = agent.status().await?["confirm"].clone();
        ensure!(
            confirm["result"] == "confirmed" && confirm["generation"] == generation,
            "{confirm}"
        );
        ensure!(confirm["target"] == "server", "{confirm}");
        Ok(Some(()))
    })
    .await
}

fn deployed(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../agent/deploy")
        .join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Arguments and variables of the one container that has both.
fn container(manifest: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut arguments, mut variables, mut name) = (Vec::new(), BTreeMap::new(), None);
    let mut is_in_arguments = false;
    for line in manifest.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.ends_with(':') {
            is_in_arguments = line == "args:";
        } else if is_in_arguments && let Some(argument) = line.strip_prefix("- ") {
            arguments.push(argument.to_owned());
        } else if let Some(variable) = line.strip_prefix("- name: ") {
            name = Some(variable.to_owned());
        } else if let (Some(value), Some(name)) = (line.strip_prefix("value: "), name.take()) {
            variables.insert(name, value.to_owned());
        }
    }
    (arguments, variables)
}

#[tokio::test]
async fn the_overlay_of_kubernetes() -> Result<()> {
    let place = Place::new("nats-in-a-pod")?;
    let manifest = deployed("kubernetes/overlays/server/server.yaml")?;
    let (arguments, variables) = container(&manifest);
    ensure!(
        arguments.len() == 6 && variables.len() == 6,
        "{arguments:?} {variables:?}"
    );
    let adapt = |text: &str| place.adapt(text, "/etc/nats-tls", "/run/nats-tls");
    let mut command = AgentCommand::new(&arguments[0]);
    for argument in &arguments[1..] {
        command = command.argument(adapt(argument));
    }
    for (name, value) in variables
        .iter()
        .filter(|(name, _)| *name != "NATS_MTLS_HTTP")
    {
        command = command.environment(name, adapt(value));
    }
    let config = adapt(&deployed("kubernetes/nats-server/nats.conf")?);
    place.rotates(command, &config).await
}

#[tokio::test]
async fn the_example_of_systemd() -> Result<()> {
    let place = Place::new("nats-of-systemd")?;
    let example = deployed("systemd/nats-server.env")?;
    let adapt = |text: &str| {
        place.adapt(
            text,
            "/etc/nats-mtls/nats-server",
            "/run/nats-mtls/nats-server",
        )
    };
    let mut command = AgentCommand::new("run");
    let mut variables = 0;
    for line in example.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=') {
            variables += 1;
            if name != "NATS_MTLS_HTTP" {
                command = command.environment(name, adapt(value));
            }
        }
    }
    ensure!(variables == 9, "{variables}");
    let config: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .collect();
    let config = adapt(&format!("port: 4222\n{}", config.join("\n")));
    place.rotates(command, &config).await
}
