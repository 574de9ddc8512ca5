//! Promise 3 over a restart: a process that starts with bad or missing files goes on with the last
//! good set that was kept, says so, and takes good files at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{BuildError, CertificateManager, Files, ManagerBuilder, StartupPolicy};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::wait::{PATIENCE, eventually};

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
