//! A publish directory that cannot be used: an error that names it and the way out, nothing left
//! half done, nothing foreign touched, no connection held up, and it recovers by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand, skipped_without_namespaces};
use nats_mtls_tests::files::{Contents, PlainFiles};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::published;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use serde_json::Value;
use tempfile::TempDir;

struct World {
    ca: Authority,
    identity: Identity,
    files: PlainFiles,
    directory: TempDir,
}

impl World {
    fn new() -> Result<Self> {
        let ca = Authority::new("root");
        let identity = ca.issue(&LeafSpec::client("agent"));
        Ok(Self {
            files: PlainFiles::new(&Contents::new(&identity, &ca.root_pem()))?,
            directory: tempfile::tempdir()?,
            identity,
            ca,
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self) -> Result<AgentCommand> {
        AgentCommand::new("run")
            .plain_files(&self.files)
            .flag("--publish-dir", self.path())
            .flag("--spread", "0s")
            .http()
    }

    fn renew(&mut self) -> Result<()> {
        self.identity = self.ca.renew(&self.identity);
        let contents = Contents::new(&self.identity, &self.ca.root_pem());
        self.files.rename_over(&contents)
    }

    async fn is_published(&self) -> Result<()> {
        eventually(PATIENCE, "published", || async {
            let found = published::read(&published::current(self.path()))?;
            Ok((found.as_deref() == Some(self.identity.fingerprint())).then_some(()))
        })
        .await
    }
}

async fn publish_is(agent: &Agent, result: &str) -> Result<Value> {
    eventually(PATIENCE, &format!("publish is {result}"), || async {
        let status = agent.status().await?;
        ensure!(status["publish"]["result"] == result, "{status:#}");
        Ok(Some(status))
    })
    .await
}

/// Ready all the same, and the error says `words` about a path in the directory.
async fn fails(agent: &Agent, world: &World, words: &[&str]) -> Result<()> {
    let status = eventually(PATIENCE, "failed, and ready", || async {
        let status = publish_is(agent, "failed").await?;
        Ok((status["ready"] == true).then_some(status))
    })
    .await?;
    let error = status["publish"]["error"].as_str().context("no error")?;
    let path = world.path().to_str().context("path")?;
    ensure!(error.starts_with(path), "{error}");
    for words in words {
        ensure!(error.contains(words), "{error}");
    }
    // Said once, however often it is tried.
    let log = agent.stderr();
    ensure!(log.matches(error).count() == 1, "{log}");
    let scrape = agent.get("/metrics").await?.body;
    let metric = "\nnats_mtls_last_publish_successful 0\n";
    ensure!(scrape.contains(metric), "{scrape}");
    Ok(())
}

#[tokio::test]
async fn a_foreign_file_in_the_way_is_named_and_stays() -> Result<()> {
    let world = World::new()?;
    let foreign = world.path().join("tls.key");
    fs::write(&foreign, "precious")?;
    let agent = world.command()?.start().await?;
    fails(&agent, &world, &["tls.key", "did not make"]).await?;
    ensure!(fs::read(&foreign)? == b"precious");
    ensure!(fs::read_dir(world.path())?.count() == 1);

    eventually(PATIENCE, "tried again", || async {
        let scrape = agent.get("/metrics").await?.body;
        let failed = scrape.lines().find_map(|line| {
            let count = line.strip_prefix("nats_mtls_publish_total{result=\"failed\"} ");
            count?.parse::<u32>().ok()
        });
        Ok(failed.filter(|failed| *failed > 2))
    })
    .await?;
    fails(&agent, &world, &[]).await?;
    fs::remove_file(&foreign)?;
    world.is_published().await?;
    publish_is(&agent, "published").await?;
    Ok(())
}

#[tokio::test]
async fn a_second_agent_says_who_is_in_the_way_and_takes_over_when_that_ends() -> Result<()> {
    let mut world = World::new()?;
    let first = world.command()?.start().await?;
    world.is_published().await?;
    let second = world.command()?.start().await?;
    fails(&second, &world, &["another nats-mtls-agent"]).await?;
    first.process().kill();
    world.renew()?;
    world.is_published().await?;
    publish_is(&second, "published").await?;
    Ok(())
}

fn mount(options: &str, at: &Path) -> String {
    format!("mount -t tmpfs -o {options} tmpfs '{}'", at.display())
}

#[tokio::test]
async fn a_read_only_directory_is_said_to_be_one() -> Result<()> {
    if skipped_without_namespaces()? {
        return Ok(());
    }
    let world = World::new()?;
    let mounts = mount("ro,size=1m", world.path());
    let agent = world.command()?.after_mounting(mounts).start().await?;
    fails(&agent, &world, &["Read-only file system", "writable"]).await
}

#[tokio::test]
async fn something_mounted_inside_the_directory_is_named() -> Result<()> {
    if skipped_without_namespaces()? {
        return Ok(());
    }
    let world = World::new()?;
    let data = world.path().join("..data");
    fs::create_dir(&data)?;
    let mounts = mount("size=1m", &data);
    let agent = world.command()?.after_mounting(mounts).start().await?;
    fails(&agent, &world, &["..data: a directory", "--publish-dir"]).await
}

#[tokio::test]
async fn a_full_disk_keeps_the_last_set_and_holds_up_no_connection() -> Result<()> {
    if skipped_without_namespaces()? {
        return Ok(());
    }
    let mut world = World::new()?;
    let server = NatsServer::start(ServerSettings::new(&world.ca)).await?;
    let mounts = mount("size=20k", world.path());
    let agent = world
        .command()?
        .flag("--server", server.url())
        .after_mounting(mounts)
        .start()
        .await?;
    // What the agent sees is seen through its own root.
    let pid = agent.process().pid();
    let inside = Path::new("/proc").join(pid.to_string()).join("root");
    let inside = inside.join(world.path().strip_prefix("/")?);
    let found = || published::read(&published::current(&inside));
    publish_is(&agent, "published").await?;
    let first = found()?.context("nothing published")?;
    ensure!(first == world.identity.fingerprint());
    let entries = fs::read_dir(&inside)?.count();

    world.renew()?;
    fails(&agent, &world, &["No space left", "Make room"]).await?;
    ensure!(found()?.as_ref() == Some(&first));
    ensure!(fs::read_dir(&inside)?.count() == entries);
    eventually(PATIENCE, "the connection was moved", || async {
        let seen = server.certificate_of("nats-mtls-agent").await?;
        Ok((seen.as_deref() == Some(world.identity.fingerprint())).then_some(()))
    })
    .await?;

    let room = Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--user", "--mount"])
        .args(["--preserve-credentials", "mount", "-o", "remount,size=1m"])
        .arg(world.path())
        .output()?;
    ensure!(room.status.success(), "{room:?}");
    publish_is(&agent, "published").await?;
    ensure!(found()?.as_deref() == Some(world.identity.fingerprint()));
    Ok(())
}
