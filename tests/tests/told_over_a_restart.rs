//! No notification is lost with the agent: whoever was not told of the published set before it died
//! is told by its next life, and whoever was told is not told twice.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::published;
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use serde_json::Value;
use tempfile::TempDir;

/// An agent that publishes, and a hook that fails for as long as the file `ready` is not there.
struct World {
    authority: Authority,
    identity: Identity,
    files: PlainFiles,
    folder: TempDir,
}

impl World {
    fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("orders"));
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("published"))?;
        Ok(Self {
            files,
            authority,
            identity,
            folder,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start(&self) -> Result<Agent> {
        let script = format!(
            "/bin/sh -c 'echo $NATS_MTLS_FINGERPRINT_SHA256 >> {}; test -e {}'",
            self.path("runs").display(),
            self.path("ready").display()
        );
        AgentCommand::new("run")
            .plain_files(&self.files)
            .flag("--publish-dir", self.path("published"))
            .flag("--poll-interval", "100ms")
            .flag("--spread", "0s")
            .flag("--on-rotate-exec", script)
            .http()?
            .start()
            .await
    }

    fn renew(&mut self) -> Result<()> {
        self.identity = self.authority.renew(&self.identity);
        let contents = Contents::new(&self.identity, &self.authority.root_pem());
        self.files.rename_over(&contents)
    }

    async fn is_published(&self) -> Result<()> {
        eventually(PATIENCE, "published", || async {
            let set = published::current(&self.path("published"));
            let found = published::read(&set).ok().flatten();
            Ok((found.as_deref() == Some(self.identity.fingerprint())).then_some(()))
        })
        .await
    }

    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// The set that is remembered as told is the current one.
    async fn is_remembered(&self) -> Result<()> {
        let link = |name| fs::read_link(self.path("published").join(name)).ok();
        eventually(PATIENCE, "remembered", || async {
            let told = link("..nats_mtls_told");
            Ok((told.is_some() && told == link("..data")).then_some(()))
        })
        .await
    }
}

async fn hook(agent: &Agent, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    eventually(PATIENCE, what, || async {
        let status = agent.status().await?;
        let hook = &status["notify"]["exec"];
        ensure!(is(hook), "{hook}");
        Ok(Some(()))
    })
    .await
}

/// Over this long, nobody is told.
async fn nobody_is_told(world: &World) -> Result<()> {
    let before = world.runs();
    throughout(Duration::from_millis(500), "nobody is told", || async {
        Ok(world.runs() == before)
    })
    .await
}

#[tokio::test]
async fn a_hook_that_failed_until_the_agent_was_killed_is_told_by_the_next_life() -> Result<()> {
    let mut world = World::new()?;
    let agent = world.start().await?;
    world.is_published().await?;
    world.is_remembered().await?;
    world.renew()?;
    world.is_published().await?;
    hook(&agent, "it failed", |hook| hook["result"] == "failed").await?;
    agent.process().kill();
    let before = world.runs().len();

    // A life in which it goes on failing, and ends as asked.
    let agent = world.start().await?;
    hook(&agent, "it failed again", |hook| hook["result"] == "failed").await?;
    agent.terminate()?;
    agent.wait(PATIENCE).await?;
    ensure!(world.runs().len() > before, "the second life told nobody");

    fs::write(world.path("ready"), "")?;
    let agent = world.start().await?;
    hook(&agent, "told", |hook| hook["result"] == "ok").await?;
    let runs = world.runs();
    let last = runs.last().context("no run")?;
    ensure!(last == world.identity.fingerprint(), "{runs:?}");
    world.is_remembered().await?;
    agent.process().kill();

    let agent = world.start().await?;
    hook(&agent, "up", |hook| hook["state"] == "idle").await?;
    world.is_published().await?;
    eventually(PATIENCE, "it says so", || async {
        Ok(agent.stderr().contains("told of it before").then_some(()))
    })
    .await?;
    nobody_is_told(&world).await
}

/// Between the swap and the first attempt lies little time, and a kill may fall into it: then there
/// is no record, as if somebody had taken it away.
#[tokio::test]
async fn a_set_that_nobody_is_known_to_have_been_told_of_is_told_once() -> Result<()> {
    let world = World::new()?;
    fs::write(world.path("ready"), "")?;
    let agent = world.start().await?;
    world.is_published().await?;
    world.is_remembered().await?;
    // The first set there ever was is no news to anybody.
    nobody_is_told(&world).await?;
    agent.process().kill();
    fs::remove_file(world.path("published").join("..nats_mtls_told"))?;

    let agent = world.start().await?;
    hook(&agent, "told", |hook| hook["result"] == "ok").await?;
    world.is_remembered().await?;
    agent.process().kill();
    let agent = world.start().await?;
    eventually(PATIENCE, "it says so", || async {
        Ok(agent.stderr().contains("told of it before").then_some(()))
    })
    .await?;
    nobody_is_told(&world).await?;
    ensure!(world.runs() == [world.identity.fingerprint()]);
    Ok(())
}
