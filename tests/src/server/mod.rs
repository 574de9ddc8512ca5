//! A real nats-server with mutual TLS on loopback.
//!
//! Ports are chosen by the server itself, so no test can take another one's. A restart keeps them.
//! To have TLS 1.2, restrict the client: see [`crate::tls`].

mod cluster;
mod config;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::pki::Identity;
use crate::process::{Process, Signal};
use crate::wait::{PATIENCE, eventually};

pub use cluster::Routes;
pub use config::{HandshakeFirst, ServerSettings, Verify};

const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
const CLIENT_ROOTS: &str = "client-ca.crt";
const CONFIG: &str = "nats.conf";

/// A running nats-server. Killed on drop; its log is then printed for a failed test.
#[derive(Debug)]
pub struct NatsServer {
    settings: ServerSettings,
    ports: Ports,
    /// What its configuration says; none if it chose them itself. A reload must not change that.
    configured_ports: Option<Ports>,
    // Before the directory, so that the process has ended when its files go away.
    process: Process,
    directory: TempDir,
    cluster: Option<config::Cluster>,
}

/// Where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    client: u16,
    monitoring: u16,
}

impl NatsServer {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// When there is no nats-server, or it refuses its configuration: the error has its log.
    pub async fn start(settings: ServerSettings) -> Result<Self> {
        Self::start_in_cluster(settings, None).await
    }

    async fn start_in_cluster(
        settings: ServerSettings,
        cluster: Option<config::Cluster>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        write_identity(path, settings.identity())?;
        fs::write(path.join(CLIENT_ROOTS), settings.client_roots())?;
        let (process, ports) = launch(path, &settings, None, cluster.as_ref()).await?;
        Ok(Self {
            settings,
            ports,
            configured_ports: None,
            process,
            directory,
            cluster,
        })
    }

    /// `tls://localhost:<port>`, for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tls://localhost:{}", self.ports.client)
    }

    /// The client port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.client
    }

    /// `http://127.0.0.1:<port><path>` of the monitoring port, for example for `/varz`.
    #[must_use]
    pub fn monitoring_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.monitoring)
    }

    /// What it logged so far, over all restarts.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Replaces its certificate and key on disk. Takes effect with [`Self::reload`].
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_identity(&mut self, identity: &Identity) -> Result<()> {
        self.settings = self.settings.clone().with_identity(identity);
        write_identity(self.directory.path(), identity)
    }

    /// Replaces the roots that it checks clients against. Takes effect with [`Self::reload`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_client_roots(&mut self, roots_pem: &str) -> Result<()> {
        self.settings = self.settings.clone().with_client_roots(roots_pem);
        Ok(fs::write(
            self.directory.path().join(CLIENT_ROOTS),
            roots_pem,
        )?)
    }

    /// Changes its configuration file. Takes effect with [`Self::reload`] or [`Self::restart`];
    /// not everything can be reloaded.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reconfigure(
        &mut self,
        change: impl FnOnce(ServerSettings) -> ServerSettings,
    ) -> Result<()> {
        self.settings = change(self.settings.clone());
        let path = self.directory.path();
        write_identity(path, self.settings.identity())?;
        fs::write(path.join(CLIENT_ROOTS), self.settings.client_roots())?;
        write_config(
            path,
            &self.settings,
            self.configured_ports,
            self.cluster.as_ref(),
        )
    }

    /// Reloads configuration and certificates (SIGHUP) and waits until that is done. Connected
    /// clients stay connected.
    ///
    /// # Errors
    /// When the server rejects the new configuration.
    pub async fn reload(&self) -> Result<()> {
        const DONE: &str = "Reloaded server configuration";
        const FAILED: &str = "Failed to reload server configuration";
        let before = self.log().len();
        self.process.signal(Signal::HUP)?;
        let news = eventually(PATIENCE, "nats-server reloads", || async {
            let log = self.log();
            let news = log.get(before..).unwrap_or_default();
            let over = news.contains(DONE) || news.contains(FAILED);
            Ok(over.then(|| news.to_owned()))
        })
        .await?;
        ensure!(!news.contains(FAILED), "{news}");
        Ok(())
    }

    /// Ends it as an operator would (SIGTERM) and waits until it has ended. Clients see the
    /// connection close.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&self) -> Result<()> {
        if self.process.exit_status()?.is_none() {
            self.process.signal(Signal::TERM)?;
            self.process.wait(PATIENCE).await?;
        }
        Ok(())
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it again on the same ports and with the same store, ending it first if it runs.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let (process, ports) = launch(
            self.directory.path(),
            &self.settings,
            Some(self.ports),
            self.cluster.as_ref(),
        )
        .await?;
        ensure!(ports == self.ports, "restarted on other ports");
        self.configured_ports = Some(ports);
        self.process = process;
        Ok(())
    }

    /// Freezes it (SIGSTOP) and waits until it stands still: connections stay open and nothing
    /// answers, like a network that swallows packets. The kernel still accepts new connections.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn freeze(&self) -> Result<()> {
        self.process.freeze().await
    }

    /// Lets it go on after [`Self::freeze`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Puts it into lame duck mode (SIGUSR2): it tells its clients, then closes them one by one
    /// and ends.
    ///
    /// # Errors
    /// When it has ended.
    pub fn lame_duck(&self) -> Result<()> {
        self.process.signal(Signal::USR2)
    }
}

/// The binary that [`NatsServer`] runs: `$NATS_SERVER`, or what `scripts/nats-server` prints.
///
/// # Errors
/// When there is none; the error says what to do.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| find_binary().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn find_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return Ok(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/nats-server");
    let output = Command::new(&script)
        .output()
        .with_context(|| script.display().to_string())?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

async fn launch(
    directory: &Path,
    settings: &ServerSettings,
    ports: Option<Ports>,
    cluster: Option<&config::Cluster>,
) -> Result<(Process, Ports)> {
    write_config(directory, settings, ports, cluster)?;
    let ports_directory = tempfile::tempdir_in(directory)?;
    let mut command = Command::new(binary()?);
    command
        .arg("--config")
        .arg(directory.join(CONFIG))
        .arg("--ports_file_dir")
        .arg(ports_directory.path());
    let process = Process::start("nats-server", &mut command, directory)?;
    let outcome = eventually(PATIENCE, "nats-server listens", || async {
        if let Some(status) = process.exit_status()? {
            return Ok(Some(Err(status)));
        }
        read_ports(ports_directory.path()).map(|ports| ports.map(Ok))
    })
    .await
    .with_context(|| process.stderr())?;
    match outcome {
        Ok(ports) => Ok((process, ports)),
        Err(status) => bail!("nats-server ended with {status}:\n{}", process.stderr()),
    }
}

fn write_config(
    directory: &Path,
    settings: &ServerSettings,
    ports: Option<Ports>,
    cluster: Option<&config::Cluster>,
) -> Result<()> {
    let text = settings.render(directory, ports, cluster);
    Ok(fs::write(directory.join(CONFIG), text)?)
}

fn write_identity(directory: &Path, identity: &Identity) -> Result<()> {
    fs::write(directory.join(CERTIFICATE), identity.chain_pem())?;
    Ok(fs::write(directory.join(KEY), identity.key_pem())?)
}

/// The file that nats-server writes once it listens.
#[derive(Deserialize)]
struct PortsFile {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

fn read_ports(directory: &Path) -> Result<Option<Ports>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ports")
        {
            // Half-written is an error here, and "not yet" for the caller.
            let file: PortsFile = serde_json::from_slice(&fs::read(path)?)?;
            return Ok(Some(Ports {
                client: port_of(&file.nats)?,
                monitoring: port_of(&file.monitoring)?,
            }));
        }
    }
    Ok(None)
}

fn port_of(urls: &[String]) -> Result<u16> {
    urls.first()
        .and_then(|url| url.rsplit_once(':'))
        .with_context(|| format!("no port in {urls:?}"))?
        .1
        .parse()
        .context("not a port")
}
