//! Whatever a program of `--on-rotate-exec` starts ends with it, in whichever process group or
//! session that is, and is taken away from the process table: also where the agent is process 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{AgentCommand, skipped_without_namespaces};
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::process::Process;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tempfile::TempDir;

/// Starts one process in the background of its own group, one in a session of its own, and one that
/// forks twice, each with a child; then does what its caller wants.
const SCRIPT: &str = r#"
folder=$1
stays='echo $$ >> "$0"; sleep 600 & echo $! >> "$0"; wait'
sh -c "$stays" "$folder/group" &
setsid sh -c "$stays" "$folder/session" &
( setsid sh -c "( $stays ) &" "$folder/daemon" & )
for name in group session daemon; do
    until [ "$(wc -l < "$folder/$name" 2>/dev/null)" = 2 ]; do sleep 0.02; done
done
"#;

const FILES: [&str; 3] = ["group", "session", "daemon"];

struct World {
    files: PlainFiles,
    folder: TempDir,
}

impl World {
    fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("orders"));
        Ok(Self {
            files: PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?,
            folder: tempfile::tempdir()?,
        })
    }

    /// An agent whose hook does `then` after it started all of them.
    fn command(&self, then: &str, limit: &str) -> Result<AgentCommand> {
        let script = self.folder.path().join("hook.sh");
        fs::write(&script, format!("{SCRIPT}\n{then}\n"))?;
        let folder = self.folder.path().display();
        AgentCommand::new("run")
            .plain_files(&self.files)
            .argument("--on-rotate-first")
            .flag(
                "--on-rotate-exec",
                format!("/bin/sh {} {folder}", script.display()),
            )
            .flag("--on-rotate-timeout", limit)
            .http()
    }

    /// The ids of all that were started, as they are called where the hook ran.
    async fn started(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for name in FILES {
            let path = self.folder.path().join(name);
            let pids = eventually(PATIENCE, &format!("{name} started"), || async {
                let text = fs::read_to_string(&path).unwrap_or_default();
                Ok((text.lines().count() >= 2).then_some(text))
            })
            .await?;
            all.extend(pids.lines().map(str::to_owned));
        }
        Ok(all)
    }
}

/// None of them is in the table any more, not even as a zombie.
async fn are_gone(proc: &Path, pids: &[String]) -> Result<()> {
    eventually(PATIENCE, "all have gone", || async {
        let left = |pid: &&String| proc.join(pid).exists();
        let left: Vec<_> = pids.iter().filter(left).collect();
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(Some(()))
    })
    .await
}

/// Neither running nor ended.
async fn has_no_children(proc: &Path, pid: i32) -> Result<()> {
    let children = proc.join(format!("{pid}/task/{pid}/children"));
    eventually(PATIENCE, "no children", || async {
        let children = fs::read_to_string(&children)?;
        ensure!(children.trim().is_empty(), "{children}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn what_a_program_left_running_ends_with_it_in_whichever_session() -> Result<()> {
    let world = World::new()?;
    let agent = world.command("exit 0", "30s")?.start().await?;
    let pids = world.started().await?;
    eventually(PATIENCE, "told", || async {
        let status = agent.status().await?;
        ensure!(status["notify"]["exec"]["result"] == "ok", "{status}");
        Ok(Some(()))
    })
    .await?;
    // At once: the hook is not over before they are.
    let proc = PathBuf::from("/proc");
    let left = pids.iter().filter(|pid| proc.join(pid).exists());
    ensure!(left.count() == 0, "the hook was over too early");
    has_no_children(&proc, agent.process().pid()).await?;
    let log = agent.stderr();
    ensure!(log.contains("outside of its process group"), "{log}");
    Ok(())
}

#[tokio::test]
async fn one_that_takes_too_long_is_ended_with_all_of_them() -> Result<()> {
    let world = World::new()?;
    let agent = world.command("sleep 600", "2s")?.start().await?;
    let pids = world.started().await?;
    eventually(PATIENCE, "failed", || async {
        let status = agent.status().await?;
        let hook = &status["notify"]["exec"];
        ensure!(hook["result"] == "failed", "{hook}");
        Ok(Some(()))
    })
    .await?;
    are_gone(Path::new("/proc"), &pids).await?;
    ensure!(agent.get("/livez").await?.status == 200);
    Ok(())
}

/// Process 1 gets the orphans of everybody in its namespace: of its hook, which it ends, and of
/// programs that came from outside (`docker exec`), which it takes away once they end by themselves.
#[tokio::test]
async fn process_1_of_a_container_reaps_its_own_orphans_and_those_of_others() -> Result<()> {
    if skipped_without_namespaces()? {
        return Ok(());
    }
    let world = World::new()?;
    let command = world.command("exit 0", "30s")?;
    let address = command.http_address()?;
    let agent = command.command().await?;
    let mut container = Command::new("unshare");
    container
        .args(["--user", "--map-root-user", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc"])
        .arg(agent.get_program())
        .args(agent.get_args());
    let outer = Process::start("container", &mut container, world.folder.path())?;
    world.started().await?;
    eventually(PATIENCE, "told", || async {
        let url = format!("http://{address}/status");
        let status: serde_json::Value = nats_mtls_tests::http::get(&url).await?.json()?;
        ensure!(status["notify"]["exec"]["result"] == "ok", "{status}");
        Ok(Some(()))
    })
    .await?;
    let pid = outer.pid();
    let inner = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let inner: i32 = inner.trim().parse().context("the agent's id outside")?;
    has_no_children(Path::new("/proc"), inner).await?;

    // One that is not the hook's lives on as an orphan, and is reaped when it has ended.
    let end = world.folder.path().join("end");
    let script = format!("(until [ -e {} ]; do sleep 0.02; done) &", end.display());
    let entered = Command::new("nsenter")
        .args(["--target", &inner.to_string()])
        .args(["--user", "--pid", "--preserve-credentials"])
        .args(["sh", "-c", &script])
        .status()?;
    ensure!(entered.success(), "{entered}");
    let children = format!("/proc/{inner}/task/{inner}/children");
    eventually(PATIENCE, "adopted", || async {
        let children = fs::read_to_string(&children)?;
        Ok((children.split_whitespace().count() == 1).then_some(()))
    })
    .await?;
    fs::write(&end, "")?;
    has_no_children(Path::new("/proc"), inner).await
}
