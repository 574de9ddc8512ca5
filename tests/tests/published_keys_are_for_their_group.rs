//! A published key is read by the users of its group and by nobody else, under what the unit of systemd
//! sets and by the lines that its README gives. As other users, which takes root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{self, AgentCommand, skipped_without_root};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::process::Process;
use nats_mtls_tests::wait::{PATIENCE, eventually};

/// Of the unit, and of the service beside it. Nobody's on any machine.
const AGENT: u32 = 64_201;
const READER: u32 = 64_202;
/// Where the README publishes to, and whom it lets in.
const FOLDER: &str = "/run/nats-mtls/orders";
const GROUP: &str = "nats-mtls";

fn deployed(name: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/deploy/systemd");
    fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())
}

/// The value of `key=value`, the one line that has it.
fn setting(text: &str, key: &str) -> Result<String> {
    let mut found = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let value = found.next().with_context(|| format!("there is no {key}"))?;
    ensure!(found.next().is_none(), "{key} stands there twice");
    Ok(value.to_owned())
}

/// As that user, in these groups, with the umask of the unit.
fn become_user(user: u32, groups: &[u32], umask: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}"));
    match groups {
        [] => command.arg(format!("--regid={user}")).arg("--clear-groups"),
        [own, ..] => {
            let all: Vec<_> = groups.iter().map(u32::to_string).collect();
            command
                .arg(format!("--regid={own}"))
                .arg(format!("--groups={}", all.join(",")))
        }
    };
    command.args(["sh", "-c", "umask \"$0\" && exec \"$@\"", umask]);
    command
}

/// A machine on which the unit has made its folder.
struct Machine {
    unit: String,
    folder: tempfile::TempDir,
    files: PlainFiles,
}

impl Machine {
    fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("orders"));
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        let machine = Self {
            unit: deployed("nats-mtls-agent@.service")?,
            folder: tempfile::tempdir()?,
            files,
        };
        fs::set_permissions(machine.folder.path(), Permissions::from_mode(0o755))?;
        let mode = setting(&machine.unit, "RuntimeDirectoryMode")?;
        fs::create_dir(machine.published())?;
        fs::set_permissions(
            machine.published(),
            Permissions::from_mode(u32::from_str_radix(&mode, 8)?),
        )?;
        chown(machine.published(), Some(AGENT), Some(AGENT))?;
        chown(machine.files.directory(), Some(AGENT), Some(AGENT))?;
        for part in [Part::Certificate, Part::Key, Part::Roots] {
            chown(machine.files.path(part), Some(AGENT), Some(AGENT))?;
        }
        Ok(machine)
    }

    fn published(&self) -> PathBuf {
        self.folder.path().join("orders")
    }

    /// Publishes once, with these lines beside those of an agent that only publishes.
    async fn publishes(&self, variables: &[(&str, String)]) -> Result<Process> {
        // The one that was built may lie where only its builder may look.
        let program = self.folder.path().join("nats-mtls-agent");
        fs::copy(agent::binary().await?, &program)?;
        let built = AgentCommand::new("run")
            .plain_files(&self.files)
            .flag("--http", "off");
        let mut command = become_user(AGENT, &[], &setting(&self.unit, "UMask")?);
        command.arg(program).args(built.command().await?.get_args());
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, value) in variables {
            command.env(name, value);
        }
        let process = Process::start("agent", &mut command, self.folder.path())?;
        eventually(PATIENCE, "published", || async {
            ensure!(process.exit_status()?.is_none(), "{}", process.stderr());
            Ok(self.published().join("tls.key").exists().then_some(()))
        })
        .await?;
        Ok(process)
    }

    /// Whether this user can read the file.
    fn reads(&self, user: u32, groups: &[u32], name: &str) -> Result<bool> {
        let mut command = become_user(user, groups, "0022");
        let path = self.published().join(name);
        let done = command.arg("cat").arg(path).output()?;
        // Not a word of a key in the output of a test.
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success() || said.contains("Permission denied"),
            "{said}"
        );
        Ok(done.status.success())
    }
}

#[tokio::test]
async fn by_the_readme_of_systemd() -> Result<()> {
    if skipped_without_root()? {
        return Ok(());
    }
    let readme = deployed("README.md")?;
    let folder = setting(&readme, "NATS_MTLS_PUBLISH_DIR")?;
    ensure!(folder == FOLDER, "{folder}");
    let group = setting(&readme, "NATS_MTLS_PUBLISH_GROUP")?;
    ensure!(group == GROUP, "{group}");
    // The unit runs in that group, and so its folder lets that group in.
    let machine = Machine::new()?;
    ensure!(setting(&machine.unit, "Group")? == group);
    ensure!(setting(&readme, "SupplementaryGroups")? == group);

    let variables = [
        (
            "NATS_MTLS_PUBLISH_DIR",
            machine.published().display().to_string(),
        ),
        ("NATS_MTLS_PUBLISH_GROUP", AGENT.to_string()),
    ];
    let _agent = machine.publishes(&variables).await?;
    for file in ["tls.key", "tls.crt", "ca.crt", "tls-combined.pem"] {
        ensure!(
            machine.reads(READER, &[READER, AGENT], file)?,
            "{file} cannot be read"
        );
        ensure!(!machine.reads(READER, &[], file)?, "everybody reads {file}");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_group_it_is_for_the_agent_alone() -> Result<()> {
    if skipped_without_root()? {
        return Ok(());
    }
    let machine = Machine::new()?;
    let variables = [(
        "NATS_MTLS_PUBLISH_DIR",
        machine.published().display().to_string(),
    )];
    let _agent = machine.publishes(&variables).await?;
    ensure!(machine.reads(READER, &[READER, AGENT], "tls.crt")?);
    for file in ["tls.key", "tls-combined.pem"] {
        ensure!(!machine.reads(READER, &[READER, AGENT], file)?, "{file}");
        ensure!(machine.reads(AGENT, &[], file)?, "{file}");
    }
    Ok(())
}
