//! Promise 3 over a restart: a process that starts with bad or missing files goes on with the last
//! good set that was kept, says so, and takes good files at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{BuildError, CertificateManager, Files, ManagerBuilder, StartupPolicy};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::published;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use serde_json::Value;
use tempfile::TempDir;

struct World {
    ca: Authority,
    files: PlainFiles,
    kept: PlainFiles,
    last_good: Identity,
}

impl World {
    /// Nothing but what was kept.
    fn new(spec: &LeafSpec) -> Result<Self> {
        let ca = Authority::new("root");
        let last_good = ca.issue(spec);
        Ok(Self {
            kept: PlainFiles::new(&Contents::new(&last_good, &ca.root_pem()))?,
            files: PlainFiles::empty()?,
            last_good,
            ca,
        })
    }

    fn builder(&self) -> ManagerBuilder {
        CertificateManager::builder()
            .files(files_of(&self.files))
            .last_good(files_of(&self.kept).into_source())
            .poll_interval(Duration::from_millis(50))
            .spread(Duration::ZERO)
            .startup(StartupPolicy::FailFast)
    }
}

fn files_of(files: &PlainFiles) -> Files {
    Files::new(
        files.path(Part::Certificate),
        files.path(Part::Key),
        files.path(Part::Roots),
    )
}

fn active(manager: &CertificateManager) -> String {
    let snapshot = manager.snapshot();
    let leaf = snapshot.material().facts().leaf();
    leaf.fingerprint_sha256.to_string()
}

#[tokio::test]
async fn the_library_starts_from_what_was_kept_until_the_files_are_good() -> Result<()> {
    let world = World::new(&LeafSpec::client("orders"))?;
    let manager = world.builder().build().await?;
    assert_eq!(active(&manager), world.last_good.fingerprint());
    assert!(manager.snapshot().is_restored());
    let status = manager.status();
    assert!(status.ready);
    assert_eq!(status.warnings, ["restored"]);
    let last = status.last_reload.context("no outcome")?;
    assert_eq!((last.result, last.reason), ("rejected", Some("read_error")));

    let renewed = world.ca.renew(&world.last_good);
    world
        .files
        .write_in_place(&Contents::new(&renewed, &world.ca.root_pem()))?;
    eventually(PATIENCE, "the files win", || async {
        Ok((active(&manager) == renewed.fingerprint()).then_some(()))
    })
    .await?;
    assert!(!manager.snapshot().is_restored());
    let status = manager.status();
    assert!(!status.warnings.contains(&"restored"), "{status:?}");
    assert_eq!(status.generation, 2);
    Ok(())
}

#[tokio::test]
async fn files_that_hold_the_same_set_end_the_warning_without_a_rotation() -> Result<()> {
    let world = World::new(&LeafSpec::client("orders"))?;
    let manager = world.builder().build().await?;
    world
        .files
        .write_in_place(&Contents::new(&world.last_good, &world.ca.root_pem()))?;
    let status = eventually(PATIENCE, "in step", || async {
        let status = manager.status();
        Ok((status.disk.verdict == "active").then_some(status))
    })
    .await?;
    assert_eq!(status.generation, 1);
    assert!(status.warnings.is_empty(), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn good_files_are_used_whatever_was_kept() -> Result<()> {
    let world = World::new(&LeafSpec::client("orders"))?;
    let newer = world.ca.renew(&world.last_good);
    world
        .files
        .write_in_place(&Contents::new(&newer, &world.ca.root_pem()))?;
    let manager = world.builder().build().await?;
    assert_eq!(active(&manager), newer.fingerprint());
    assert_eq!(manager.status().generation, 1);
    assert!(!manager.snapshot().is_restored());
    Ok(())
}

#[tokio::test]
async fn what_was_kept_is_judged_like_any_other_set() -> Result<()> {
    let expired = LeafSpec::client("orders").expired();
    let world = World::new(&expired)?;
    let error = match world.builder().build().await {
        Ok(manager) => anyhow::bail!("started with {}", active(&manager)),
        Err(error) => error,
    };
    // What is wrong with the files is what somebody has to repair.
    let BuildError::NoMaterial { rejection, .. } = &error else {
        anyhow::bail!("{error}");
    };
    let reason = rejection
        .as_ref()
        .map(|rejection| rejection.reason.as_str());
    ensure!(reason == Some("read_error"), "{error}");
    Ok(())
}

/// An agent that published a good set, and was then restarted over bad files.
struct Restarted {
    ca: Authority,
    server: NatsServer,
    files: PlainFiles,
    published: TempDir,
    good: Identity,
    agent: Agent,
}

impl Restarted {
    async fn new(spoil: impl FnOnce(&PlainFiles) -> Result<()>) -> Result<Self> {
        let ca = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&ca)).await?;
        let good = ca.issue(&LeafSpec::client("agent"));
        let files = PlainFiles::new(&Contents::new(&good, &ca.root_pem()))?;
        let published = tempfile::tempdir()?;
        let agent = run(&files, &published, &server).await?;
        server_sees(&server, &good).await?;
        eventually(PATIENCE, "published", || async {
            let found = published::read(&published::current(published.path()))?;
            Ok(found.filter(|found| found == good.fingerprint()))
        })
        .await?;
        agent.process().kill();
        spoil(&files)?;
        let agent = run(&files, &published, &server).await?;
        Ok(Self {
            ca,
            server,
            files,
            published,
            good,
            agent,
        })
    }

    async fn status_is(&self, what: &str, good: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(PATIENCE, what, || async {
            let status = self.agent.status().await?;
            ensure!(good(&status), "{status:#}");
            Ok(Some(status))
        })
        .await
    }
}

async fn run(files: &PlainFiles, published: &TempDir, server: &NatsServer) -> Result<Agent> {
    AgentCommand::new("run")
        .plain_files(files)
        .flag("--publish-dir", published.path())
        .flag("--server", server.url())
        .flag("--component", NAME)
        .flag("--poll-interval", "100ms")
        .flag("--settle", "300ms")
        .flag("--spread", "0s")
        .http()?
        .start()
        .await
}

const NAME: &str = "beside";

async fn server_sees(server: &NatsServer, identity: &Identity) -> Result<()> {
    eventually(PATIENCE, "the server sees the certificate", || async {
        let seen = server.certificate_of(NAME).await?;
        Ok((seen.as_deref() == Some(identity.fingerprint())).then_some(()))
    })
    .await
}

fn warns(status: &Value) -> bool {
    let warnings = status["warnings"].as_array();
    warnings.is_some_and(|all| all.iter().any(|warning| warning == "restored"))
}

#[tokio::test]
async fn an_agent_goes_on_with_what_it_published_says_so_and_takes_good_files_at_once() -> Result<()>
{
    let restarted = Restarted::new(|files| files.write(Part::Key, "")).await?;
    server_sees(&restarted.server, &restarted.good).await?;
    let status = restarted
        .status_is("ready on the last good set", |status| {
            status["ready"] == true && warns(status) && status["publish"]["result"] == "published"
        })
        .await?;
    let active = &status["active"]["leaf"]["fingerprint_sha256"];
    assert_eq!(active, restarted.good.fingerprint());
    eventually(PATIENCE, "the probe says why, too", || async {
        let ready = restarted.agent.get("/readyz").await?;
        ensure!(ready.status == 200, "{ready:?}");
        ensure!(ready.body.contains("last good set"), "{}", ready.body);
        Ok(ready.body.contains("tls.key").then_some(()))
    })
    .await?;
    let scrape = restarted.agent.get("/metrics").await?.body;
    ensure!(
        scrape.contains("\nnats_mtls_active_restored 1\n"),
        "{scrape}"
    );
    let log = restarted.agent.stderr();
    ensure!(log.contains("started from the last good set"), "{log}");
    // It lies there already.
    let unchanged = "nats_mtls_publish_total{result=\"unchanged\"} 1\n";
    ensure!(scrape.contains(unchanged), "{scrape}");

    let renewed = restarted.ca.renew(&restarted.good);
    let contents = Contents::new(&renewed, &restarted.ca.root_pem());
    restarted.files.rename_over(&contents)?;
    server_sees(&restarted.server, &renewed).await?;
    let is_good = |status: &Value| !warns(status) && status["publish"]["generation"] == 2;
    restarted.status_is("on the files again", is_good).await?;
    let published = published::read(&published::current(restarted.published.path()))?;
    assert_eq!(published.as_deref(), Some(renewed.fingerprint()));
    Ok(())
}

#[tokio::test]
async fn a_published_set_that_was_changed_since_is_not_used() -> Result<()> {
    let restarted = Restarted::new(|files| files.remove(Part::Certificate)).await?;
    restarted.status_is("restored", warns).await?;
    restarted.agent.process().kill();
    let stranger = restarted.ca.issue(&LeafSpec::client("stranger"));
    let set = published::current(restarted.published.path());
    std::fs::write(set.join("tls.key"), stranger.key_pem())?;
    let Restarted {
        server,
        files,
        published,
        ..
    } = &restarted;
    let agent = run(files, published, server).await?;
    eventually(PATIENCE, "it says why not", || async {
        let log = agent.stderr();
        ensure!(
            log.contains("no last good set to start from either"),
            "{log}"
        );
        ensure!(log.contains("key_mismatch"), "{log}");
        Ok(Some(()))
    })
    .await?;
    let status = agent.status().await?;
    assert_eq!(status["reason"], "no_material");
    Ok(())
}
