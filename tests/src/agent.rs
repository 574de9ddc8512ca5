//! The binary `nats-mtls-agent`, built, run and killed on drop.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tempfile::TempDir;

use crate::files::{KubernetesVolume, Part, PlainFiles};
use crate::http::{self, Response};
use crate::process::{Process, Signal};
use crate::wait::{PATIENCE, eventually};

/// A command line to be run.
#[derive(Debug, Clone)]
#[must_use]
pub struct AgentCommand {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    http_port: Option<u16>,
    mounts: Option<String>,
}

impl AgentCommand {
    /// `nats-mtls-agent <command>`, with nothing but what is added here: every `NATS_…` variable
    /// of the test's own environment is removed.
    pub fn new(command: &str) -> Self {
        Self {
            arguments: vec![command.into()],
            environment: Vec::new(),
            http_port: None,
            mounts: None,
        }
    }

    /// Adds one argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds a flag and its value.
    pub fn flag(self, flag: &str, value: impl AsRef<OsStr>) -> Self {
        self.argument(flag).argument(value)
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Adds `--cert`, `--key` and `--ca` for files in the Kubernetes layout.
    pub fn volume(self, volume: &KubernetesVolume) -> Self {
        self.files(|part| volume.path(part))
    }

    /// Adds `--cert`, `--key` and `--ca` for ordinary files.
    pub fn plain_files(self, files: &PlainFiles) -> Self {
        self.files(|part| files.path(part))
    }

    /// Adds `--http` on a free loopback port, for [`Agent::get`].
    ///
    /// # Errors
    /// When no port is free. Another process may take it before the agent does; the agent then
    /// ends with a message.
    pub fn http(mut self) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        self.http_port = Some(port);
        Ok(self.flag("--http", format!("127.0.0.1:{port}")))
    }

    /// Runs it in a mount namespace of its own, after this shell command. See
    /// [`skipped_without_namespaces`].
    pub fn after_mounting(mut self, command: impl Into<String>) -> Self {
        self.mounts = Some(command.into());
        self
    }

    /// The command line, for whoever starts it himself, and again and again.
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub async fn command(&self) -> Result<Command> {
        let binary = binary().await?;
        let mut command = match &self.mounts {
            None => Command::new(binary),
            Some(mounts) => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
                // The same process all the way, so that its id is the agent's.
                command
                    .arg(format!("{mounts} && exec \"$0\" \"$@\""))
                    .arg(binary);
                command
            }
        };
        command.args(&self.arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NATS_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().cloned());
        Ok(command)
    }

    /// Where it will serve HTTP: `127.0.0.1:<port>`.
    ///
    /// # Errors
    /// Without [`AgentCommand::http`].
    pub fn http_address(&self) -> Result<String> {
        let port = self
            .http_port
            .context("the agent was started without HTTP")?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the binary cannot be built or started.
    pub async fn start(self) -> Result<Agent> {
        let mut command = self.command().await?;
        let directory = tempfile::tempdir()?;
        Ok(Agent {
            process: Process::start("nats-mtls-agent", &mut command, directory.path())?,
            http_port: self.http_port,
            _directory: directory,
        })
    }

    /// Runs it to its end, for commands such as `check`.
    ///
    /// # Errors
    /// When it cannot be started or still runs after `deadline`.
    pub async fn run(self, deadline: Duration) -> Result<Finished> {
        let agent = self.start().await?;
        let status = agent.wait(deadline).await?;
        Ok(Finished {
            code: status.code(),
            stdout: agent.stdout(),
            stderr: agent.stderr(),
        })
    }

    fn files(self, path: impl Fn(Part) -> PathBuf) -> Self {
        self.flag("--cert", path(Part::Certificate))
            .flag("--key", path(Part::Key))
            .flag("--ca", path(Part::Roots))
    }
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// A running agent. Killed on drop; its output is then printed for a failed test.
#[derive(Debug)]
pub struct Agent {
    // Before the directory, so that the process has ended when its files go away.
    process: Process,
    http_port: Option<u16>,
    _directory: TempDir,
}

impl Agent {
    /// Where it serves HTTP, `host:port`.
    ///
    /// # Errors
    /// When it was started without [`AgentCommand::http`].
    pub fn http_address(&self) -> Result<String> {
        let port = self
            .http_port
            .context("the agent was started without HTTP")?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// Asks its HTTP port, for example for `/readyz`.
    ///
    /// # Errors
    /// When nothing answers, or it was started without [`AgentCommand::http`].
    pub async fn get(&self, path: &str) -> Result<Response> {
        http::get(&format!("http://{}{path}", self.http_address()?)).await
    }

    /// The JSON of `/status`.
    ///
    /// # Errors
    /// When nothing answers or it is not JSON.
    pub async fn status(&self) -> Result<serde_json::Value> {
        self.get("/status").await?.json()
    }

    /// Where its relay listens, once it does.
    ///
    /// # Errors
    /// When it has none.
    pub async fn relay_address(&self) -> Result<String> {
        eventually(PATIENCE, "the relay listens", || async {
            let status = self.status().await?;
            Ok(status["relay"]["listen"].as_str().map(str::to_owned))
        })
        .await
    }

    /// Tells it to read its files now (SIGHUP).
    ///
    /// # Errors
    /// When it has ended.
    pub fn reload(&self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Asks it to end (SIGTERM); [`Self::wait`] tells how it did.
    ///
    /// # Errors
    /// When it has ended.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait(deadline).await
    }

    /// The process, for other signals and its id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }
}

/// Whether this user may make namespaces and mount things in them; many containers forbid it.
fn has_namespaces() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork"]);
    command.args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// For a test that needs a namespace of its own, which many containers forbid. Says so if it cannot
/// be run, past the test runner, which shows only what failed.
///
/// # Errors
/// In CI (`CI=true`): there nothing is left out in silence.
pub fn skipped_without_namespaces() -> Result<bool> {
    if has_namespaces() {
        return Ok(false);
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let words = format!("SKIPPED {test}: this user may make no namespaces (unshare, mount)");
    ensure!(std::env::var("CI").as_deref() != Ok("true"), "{words}");
    // Only the macros are captured.
    writeln!(std::io::stderr(), "{words}")?;
    Ok(true)
}

/// For a test that runs programs as other users, as a CI may not. Says so, in `$NOT_CHECKED` too.
///
/// # Errors
/// When it cannot be said.
pub fn skipped_without_root() -> Result<bool> {
    if rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(
        std::io::stderr(),
        "SKIPPED {test}: only root may become another user"
    )?;
    if let Some(file) = std::env::var_os("NOT_CHECKED") {
        let mut file = OpenOptions::new().append(true).create(true).open(file)?;
        writeln!(file, "{test} (not root)")?;
    }
    Ok(true)
}

/// The agent's binary: `$NATS_MTLS_AGENT`, or built now in the profile of this test.
///
/// # Errors
/// When it does not build.
pub async fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    tokio::task::spawn_blocking(|| {
        BINARY
            .get_or_init(|| build().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!(error))
    })
    .await?
}

/// Always asks cargo, because a binary that is there may be older than its source.
fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_MTLS_AGENT") {
        return Ok(path.into());
    }
    // This test is <target>/<profile>/deps/<test>.
    let test = std::env::current_exe()?;
    let directory = test
        .parent()
        .and_then(|deps| deps.parent())
        .context("the test is not in a target directory")?;
    let target = directory.parent().context("no target directory")?;
    let profile = match directory.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "nats-mtls-agent",
        ])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cargo")?;
    ensure!(
        output.status.success(),
        "the agent does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(directory.join("nats-mtls-agent"))
}
