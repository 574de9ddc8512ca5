//! A program that follows `..data` of `--publish-dir` finds certificate, key and CA of one validated
//! set at every moment, through rotations and through `kill -9` of the agent at any of them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, KubernetesVolume, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::published::{self, Reader};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tempfile::TempDir;

const ROTATIONS: usize = 500;
const KILLS: usize = 50;

/// A few sets that share nothing, so that any mixture shows.
fn sets() -> Vec<(String, Contents)> {
    let set = |number| {
        let ca = Authority::new(&format!("root {number}"));
        let identity = ca.issue(&LeafSpec::client("orders"));
        let contents = Contents::new(&identity, &ca.root_pem());
        (identity.fingerprint().to_owned(), contents)
    };
    (0..8).map(set).collect()
}

/// The sets in the directory, and the one that readers find.
fn published_sets(directory: &Path) -> Result<(Vec<String>, Option<String>)> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let names: Result<Vec<_>> = names.collect();
    let mut sets: Vec<_> = names?.into_iter().flatten().collect();
    // They are named after their time.
    sets.retain(|name| name.starts_with("..nats_mtls_2"));
    sets.sort_unstable();
    let current = fs::read_link(directory.join("..data")).ok();
    let current = current.and_then(|set| set.into_os_string().into_string().ok());
    Ok((sets, current))
}

/// When the agent is killed after its files changed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    AtOnce,
    /// As soon as there is a set that readers do not find yet.
    Unfinished,
    /// As soon as readers find something else.
    Swapped,
}

impl Moment {
    /// Looks without a pause: the moments are short. `before` is what was there before the change.
    async fn arrive(
        self,
        directory: &Path,
        (before, current): &(Vec<String>, Option<String>),
    ) -> Result<()> {
        let newest = before.last();
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            let (sets, now) = published_sets(directory)?;
            let has_come = match self {
                Self::AtOnce => true,
                Self::Unfinished => sets.last() > newest || now != *current,
                Self::Swapped => now != *current,
            };
            if has_come {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        anyhow::bail!("{self:?} did not come");
    }
}

/// An agent beside a reader, and the files it looks after.
struct Beside {
    sets: Vec<(String, Contents)>,
    volume: KubernetesVolume,
    published: TempDir,
    command: AgentCommand,
    agent: Agent,
    turns: usize,
}

impl Beside {
    async fn start(published: TempDir) -> Result<Self> {
        let sets = sets();
        let (first, contents) = sets.first().context("no set")?;
        let volume = KubernetesVolume::new(contents)?;
        let command = AgentCommand::new("run")
            .volume(&volume)
            .flag("--publish-dir", published.path())
            .flag("--spread", "0s")
            .flag("--http", "off");
        let agent = command.clone().start().await?;
        shows(published.path(), first).await?;
        Ok(Self {
            sets,
            volume,
            published,
            command,
            agent,
            turns: 0,
        })
    }

    /// One rotation, and perhaps a kill in it. Says whether that left a set unfinished.
    async fn turn(&mut self, kill: Option<Moment>) -> Result<bool> {
        let directory = self.published.path();
        self.turns += 1;
        let (fingerprint, contents) = &self.sets[self.turns % self.sets.len()];
        let before = published_sets(directory)?;
        self.volume.update(contents)?;
        let mut unfinished = false;
        if let Some(moment) = kill {
            moment.arrive(directory, &before).await?;
            self.agent.process().kill();
            let (sets, current) = published_sets(directory)?;
            unfinished = sets.last() > current.as_ref();
            self.agent = self.command.clone().start().await?;
        }
        shows(directory, fingerprint).await?;
        Ok(unfinished)
    }

    /// What the last life leaves behind goes away in the next.
    async fn restart_and_find_it_clean(mut self) -> Result<()> {
        let directory = self.published.path();
        self.agent.process().kill();
        self.agent = self.command.clone().start().await?;
        eventually(
            PATIENCE,
            "one set is left, its links, and the record of who was told",
            || async {
                let (sets, current) = published_sets(directory)?;
                let is_clean = sets.len() == 1 && sets.first() == current.as_ref();
                Ok((is_clean && fs::read_dir(directory)?.count() == 7).then_some(()))
            },
        )
        .await
    }
}

async fn shows(directory: &Path, fingerprint: &str) -> Result<()> {
    eventually(PATIENCE, "the set is published", || async {
        let found = published::read(&published::current(directory))?;
        Ok((found.as_deref() == Some(fingerprint)).then_some(()))
    })
    .await
}

/// On a memory file system, where a rotation is quick, and on a disk, where a kill finds it half
/// done: one of each kind of a moment after the other.
#[tokio::test]
async fn a_reader_never_finds_a_bad_set_through_rotations_and_kills() -> Result<()> {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let places = [(memory, 440, 20), (tempfile::tempdir()?, 60, 30)];
    let moments = [Moment::Unfinished, Moment::Swapped, Moment::AtOnce];
    let (mut turns, mut killed, mut unfinished) = (0, 0, 0);
    for (place, rotations, kills) in places {
        let mut beside = Beside::start(place).await?;
        let reader = Reader::start(beside.published.path());
        for rotation in 1..=rotations {
            let is_killed = rotation % (rotations / kills) == 0;
            let moment = is_killed.then(|| moments[killed % moments.len()]);
            unfinished += u32::from(beside.turn(moment).await?);
            killed += usize::from(is_killed);
        }
        // A machine with no disk at all needs more luck.
        while killed == KILLS && unfinished == 0 && beside.turns < ROTATIONS {
            unfinished += u32::from(beside.turn(Some(Moment::Unfinished)).await?);
        }
        let readings = reader.stop()?;
        println!("{readings:?}, {killed} kills, {unfinished} of them in the middle of a set");
        ensure!(readings.bad.is_empty(), "{readings:?}");
        // Only who reads so slowly that two rotations overtake it, or one and a restart.
        ensure!(readings.overtaken <= KILLS as u64, "{readings:?}");
        ensure!(
            readings.changes > rotations as u64 / 10,
            "it hardly saw a rotation: {readings:?}"
        );
        turns += beside.turns;
        beside.restart_and_find_it_clean().await?;
    }
    ensure!(turns >= ROTATIONS && killed == KILLS, "{turns}, {killed}");
    ensure!(unfinished > 0, "no kill came in the middle of a set");
    Ok(())
}

/// The reader is worth something only if it notices what a writer without care does.
#[tokio::test]
async fn the_same_reader_notices_a_writer_that_copies_in_place() -> Result<()> {
    let sets = sets();
    let (_, contents) = sets.first().context("no set")?;
    let files = PlainFiles::new(contents)?;
    let reader = Reader::start_in_place(files.directory());
    for rotation in 1..=ROTATIONS {
        let (_, contents) = &sets[rotation % sets.len()];
        files.write_in_place(contents)?;
    }
    let readings = reader.stop()?;
    println!("{} bad of {} good", readings.bad.len(), readings.good);
    ensure!(!readings.bad.is_empty(), "{readings:?}");
    Ok(())
}

/// Also a file that is not there is a bad set, for as long as `..data` leads to it.
#[tokio::test]
async fn the_same_reader_notices_a_set_that_lacks_a_file() -> Result<()> {
    for name in ["tls.crt", "tls.key", "ca.crt", "tls-combined.pem"] {
        let beside = Beside::start(tempfile::tempdir()?).await?;
        let directory = beside.published.path();
        beside.agent.process().kill();
        ensure!(published::follow(directory)?.is_some());
        let set = published::current(directory);
        fs::remove_file(set.join(name))?;
        let error = published::follow(directory).unwrap_err().to_string();
        ensure!(error.contains(name), "{error}");
        fs::remove_dir_all(set)?;
        published::follow(directory).unwrap_err();
    }
    Ok(())
}
