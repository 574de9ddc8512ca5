//! Publishing into a real directory through a storage that fails or dies at any step, and into
//! directories that hold what they should not.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::contents::{Contents, File};
use super::directory::Directory;
use super::error::PublishError;
use super::layout::{Entry, SetName, TOLD};
use super::storage::{Storage, WriteError};
use super::writer::{Published, Writer};

mod damaged;
mod durable;
mod kept;
mod put_back;
mod remembered;

/// Lets a number of changes through, then goes wrong. Reading always works.
struct Unlucky {
    directory: Directory,
    luck: Cell<u32>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// One change fails; what follows works again.
    Fails(Errno),
    /// The process dies before a change.
    DiesBefore,
    /// The process dies right after it, so that nobody hears of it.
    DiesAfter,
}

impl Unlucky {
    fn change<T>(&self, change: impl FnOnce() -> Result<T, WriteError>) -> Result<T, WriteError> {
        let luck = self.luck.get();
        match (luck, self.fate) {
            (1.., _) => {
                self.luck.set(luck - 1);
                return change();
            }
            (0, Fate::Fails(errno)) => {
                self.luck.set(u32::MAX);
                return Err(WriteError::Write(errno.into()));
            }
            (0, Fate::DiesBefore) => {}
            (0, Fate::DiesAfter) => {
                change()?;
            }
        }
        panic!("killed");
    }

    fn io<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let done = self.change(|| change().map_err(WriteError::Write));
        done.map_err(|(WriteError::Write(error) | WriteError::Group(error))| error)
    }
}

impl Storage for Unlucky {
    fn entries(&self) -> io::Result<Vec<Entry>> {
        self.directory.entries()
    }
    fn holds(&self, set: &SetName, file: &File) -> io::Result<bool> {
        self.directory.holds(set, file)
    }
    fn make_set(&self, set: &SetName) -> io::Result<()> {
        self.io(|| self.directory.make_set(set))
    }
    fn write(&self, set: &SetName, file: &File) -> Result<(), WriteError> {
        self.change(|| self.directory.write(set, file))
    }
    fn seal(&self, set: &SetName) -> io::Result<()> {
        self.io(|| self.directory.seal(set))
    }
    fn link(&self, target: &Path, name: &str) -> io::Result<()> {
        self.io(|| self.directory.link(target, name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.io(|| self.directory.rename(from, to))
    }
    fn flush(&self) -> io::Result<()> {
        self.io(|| self.directory.flush())
    }
    fn remove_link(&self, name: &str) -> io::Result<()> {
        self.io(|| self.directory.remove_link(name))
    }
    fn entries_of(&self, set: &SetName) -> io::Result<Vec<Entry>> {
        self.directory.entries_of(set)
    }
    fn remove_file(&self, set: &SetName, name: &str) -> io::Result<()> {
        self.io(|| self.directory.remove_file(set, name))
    }
    fn remove_set(&self, set: &SetName) -> io::Result<()> {
        self.io(|| self.directory.remove_set(set))
    }
}

/// In memory if there is such a place: hundreds of sets are flushed.
fn scratch() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap()
}

const NAMES: [&str; 4] = ["tls.crt", "tls.key", "ca.crt", "tls-combined.pem"];

fn file(name: &'static str, text: &str, mode: u32) -> File {
    File {
        name,
        bytes: Zeroizing::new(format!("{name} of {text}").into_bytes()),
        mode,
        group: None,
    }
}

fn contents(text: &str) -> Contents {
    Contents::of_files(NAMES.map(|name| file(name, text, 0o600)).into())
}

fn with_crl(text: &str) -> Contents {
    let all = NAMES.into_iter().chain(["ca.crl"]);
    Contents::of_files(all.map(|name| file(name, text, 0o600)).collect())
}

fn set_name(second: u32) -> SetName {
    let name = format!("..nats_mtls_2026_11_21_07_05_{second:02}.000000000");
    SetName::parse(name.as_ref()).unwrap()
}

/// Tests that start processes run beside these: between fork and exec such a child holds whatever lock was just let go.
fn open(path: &Path) -> Directory {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Directory::open(path) {
            Err(PublishError::Locked { .. }) if Instant::now() < deadline => thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn writer(directory: &TempDir) -> Writer<Directory> {
    let path = directory.path();
    Writer::new(open(path), path.to_owned())
}

fn publish(directory: &TempDir, text: &str, second: u32) -> Result<Published, PublishError> {
    let publication = writer(directory).publish(&contents(text), &set_name(second))?;
    Ok(publication.published)
}

/// Publishes and meets a fate after `luck` changes. None if the process died.
fn publish_unluckily(
    directory: &TempDir,
    text: &str,
    luck: u32,
    fate: Fate,
) -> Option<Result<Published, PublishError>> {
    let storage = Unlucky {
        directory: open(directory.path()),
        luck: Cell::new(luck),
        fate,
    };
    let mut writer = Writer::new(storage, directory.path().to_owned());
    let attempt = || {
        let publication = writer.publish(&contents(text), &set_name(luck))?;
        Ok(publication.published)
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).ok()
}

/// Which set a reader finds by its links; panics if it is a mixture.
fn seen(directory: &TempDir) -> Option<String> {
    let path = directory.path();
    let Ok(target) = fs::read_link(path.join("..data")) else {
        for name in NAMES {
            assert!(fs::read(path.join(name)).is_err(), "{name}");
        }
        return None;
    };
    let texts = NAMES.map(|name| {
        let by_link = fs::read_to_string(path.join(name)).unwrap();
        let resolved = fs::read_to_string(path.join(&target).join(name)).unwrap();
        assert_eq!(by_link, resolved, "{name}");
        let of = by_link.strip_prefix(name).unwrap();
        of.strip_prefix(" of ").unwrap().to_owned()
    });
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    Some(texts[0].clone())
}

/// Without the record of who was told.
fn listing(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != TOLD).collect();
    names.sort_unstable();
    names
}

fn sets(directory: &TempDir) -> usize {
    let is_set = |name: &String| name.starts_with("..nats_mtls_");
    listing(directory)
        .iter()
        .filter(|name| is_set(name))
        .count()
}

#[test]
fn killed_at_any_step_it_leaves_the_previous_or_the_next_set_whole() {
    for (fate, former) in [
        (Fate::DiesBefore, None),
        (Fate::DiesAfter, None),
        (Fate::DiesBefore, Some("old")),
        (Fate::DiesAfter, Some("old")),
    ] {
        let mut deaths = Vec::new();
        for luck in 0.. {
            let directory = scratch();
            if let Some(former) = former {
                publish(&directory, former, 59).unwrap();
            }
            let died = publish_unluckily(&directory, "new", luck, fate).is_none();
            let seen_then = seen(&directory);
            assert!(
                seen_then.as_deref() == former || seen_then.as_deref() == Some("new"),
                "{fate:?} {luck}: {seen_then:?}"
            );
            // The next life.
            let mut writer = writer(&directory);
            writer.forget_former().unwrap();
            assert_eq!(
                seen(&directory),
                seen_then,
                "cleaning changed what readers see"
            );
            assert!(sets(&directory) <= 1, "{:?}", listing(&directory));
            writer.publish(&contents("new"), &set_name(58)).unwrap();
            writer.forget_former().unwrap();
            assert_eq!(seen(&directory).as_deref(), Some("new"));
            assert_eq!(listing(&directory).len(), 6, "{:?}", listing(&directory));
            deaths.push(seen_then);
            if !died {
                break;
            }
        }
        // Deaths on both sides of the swap, or this would prove little.
        let before = deaths.iter().filter(|seen| seen.as_deref() == former);
        assert!(before.count() > 5, "{deaths:?}");
        let after = deaths.iter().filter(|seen| seen.as_deref() == Some("new"));
        assert!(after.count() > 1, "{deaths:?}");
    }
}

#[test]
fn a_step_that_fails_leaves_nothing_behind_and_names_the_path_and_the_way_out() {
    let mut advised = 0;
    for (errno, advice) in [
        (Errno::NOSPC, "Make room"),
        (Errno::DQUOT, "Make room"),
        (Errno::ROFS, "Mount it writable"),
        (Errno::XDEV, "one file system"),
        (Errno::BUSY, "nothing mounted inside"),
        (Errno::IO, "It is tried again"),
    ] {
        for luck in 0.. {
            let directory = scratch();
            publish(&directory, "old", 59).unwrap();
            let before = listing(&directory);
            let result = publish_unluckily(&directory, "new", luck, Fate::Fails(errno)).unwrap();
            match &result {
                Err(error) if seen(&directory).as_deref() == Some("old") => {
                    let text = error.to_string();
                    let path = directory.path().to_str().unwrap();
                    assert!(text.starts_with(path), "{text}");
                    assert!(text.contains(advice), "{text}");
                    assert_eq!(listing(&directory), before, "{text}");
                    advised += 1;
                }
                // The new set is there, but may not be on the disk: not done yet.
                Err(_) => assert_eq!(seen(&directory).as_deref(), Some("new")),
                Ok(published) => {
                    assert_eq!(*published, Published::New);
                    assert_eq!(seen(&directory).as_deref(), Some("new"));
                }
            }
            let mut writer = writer(&directory);
            writer.publish(&contents("new"), &set_name(58)).unwrap();
            writer.forget_former().unwrap();
            assert_eq!(seen(&directory).as_deref(), Some("new"));
            assert_eq!(sets(&directory), 1, "{:?}", listing(&directory));
            if luck == 40 {
                break;
            }
        }
    }
    assert!(advised > 6 * 6, "{advised}");
}

#[test]
fn the_same_set_is_not_written_again_and_a_changed_mode_is() {
    let directory = scratch();
    assert_eq!(publish(&directory, "a", 1).unwrap(), Published::New);
    assert_eq!(publish(&directory, "a", 2).unwrap(), Published::Unchanged);
    assert!(listing(&directory).contains(&set_name(1).to_string()));
    let shared = Contents::of_files(NAMES.map(|name| file(name, "a", 0o640)).into());
    let mut writer = writer(&directory);
    let publication = writer.publish(&shared, &set_name(3)).unwrap();
    assert_eq!(publication.published, Published::New);
    let mode = |name| fs::metadata(directory.path().join(name)).unwrap().mode() & 0o7777;
    assert!(NAMES.into_iter().all(|name| mode(name) == 0o640));
    assert_eq!(mode(set_name(3).as_str()), 0o755);
    // A link that somebody took away comes back.
    fs::remove_file(directory.path().join("tls.key")).unwrap();
    let publication = writer.publish(&shared, &set_name(4)).unwrap();
    assert_eq!(publication.published, Published::Unchanged);
    assert_eq!(seen(&directory).as_deref(), Some("a"));
}

#[test]
fn the_set_before_the_current_one_stays_for_its_last_readers() {
    let directory = scratch();
    let mut writer = writer(&directory);
    for (second, expected) in [(1, 1), (2, 2), (3, 2)] {
        let text = second.to_string();
        writer.publish(&contents(&text), &set_name(second)).unwrap();
        assert_eq!(sets(&directory), expected);
    }
    writer.forget_former().unwrap();
    assert_eq!(sets(&directory), 1);
    assert_eq!(seen(&directory).as_deref(), Some("3"));
}

#[test]
fn a_file_that_is_not_in_the_set_any_more_has_no_link_any_more() {
    let directory = scratch();
    let mut writer = writer(&directory);
    writer.publish(&with_crl("a"), &set_name(1)).unwrap();
    assert!(fs::read(directory.path().join("ca.crl")).is_ok());
    writer.publish(&contents("b"), &set_name(2)).unwrap();
    assert!(fs::symlink_metadata(directory.path().join("ca.crl")).is_err());
    assert_eq!(seen(&directory).as_deref(), Some("b"));
}

#[test]
fn what_is_foreign_and_in_the_way_is_named_and_nothing_is_touched() {
    type Make = fn(&Path) -> io::Result<()>;
    let cases: [(&str, Make); 5] = [
        ("tls.key", |path| fs::write(path, "mine")),
        ("ca.crt", |path| symlink("/etc/hostname", path)),
        ("..data", |path| fs::create_dir(path)),
        ("..data", |path| symlink("..2026_01_01_00_00_00.1", path)),
        ("..data_tmp", |path| fs::write(path, "mine")),
    ];
    for (name, make) in cases {
        let directory = scratch();
        make(&directory.path().join(name)).unwrap();
        let before = listing(&directory);
        let error = publish(&directory, "a", 1).unwrap_err().to_string();
        let path = directory.path().join(name);
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.contains("--publish-dir"), "{error}");
        assert_eq!(listing(&directory), before);
    }
}

#[test]
fn what_is_foreign_and_not_in_the_way_is_left_where_it_is() {
    let directory = scratch();
    let elsewhere = scratch();
    let at = |name: &str| directory.path().join(name);
    fs::write(elsewhere.path().join("tls.key"), "precious").unwrap();
    fs::write(at("notes.txt"), "mine").unwrap();
    fs::create_dir(at("lost+found")).unwrap();
    // Looks like an old set of ours, and is a way out of the directory.
    symlink(elsewhere.path(), at(set_name(1).as_str())).unwrap();
    // Kubelet's.
    fs::create_dir(at("..2026_01_01_00_00_00.1")).unwrap();
    // An old set of ours in which somebody left something.
    fs::create_dir(at(set_name(2).as_str())).unwrap();
    fs::write(at(set_name(2).as_str()).join("tls.key"), "old").unwrap();
    fs::write(at(set_name(2).as_str()).join("notes.txt"), "mine").unwrap();

    publish(&directory, "a", 3).unwrap();
    let mut writer = writer(&directory);
    writer.publish(&contents("b"), &set_name(4)).unwrap();
    writer.forget_former().unwrap();

    assert_eq!(seen(&directory).as_deref(), Some("b"));
    assert_eq!(
        fs::read(elsewhere.path().join("tls.key")).unwrap(),
        b"precious"
    );
    assert_eq!(fs::read(at("notes.txt")).unwrap(), b"mine");
    assert!(at("lost+found").exists() && at("..2026_01_01_00_00_00.1").exists());
    let left: Vec<_> = fs::read_dir(at(set_name(2).as_str()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["notes.txt"], "the old key goes, the note stays");
    assert_eq!(writer.bystanders().unwrap().len(), 4);
}

#[test]
fn a_directory_that_cannot_be_one_is_named_with_a_way_out() {
    let parent = scratch();
    let refused = |path: &Path| Directory::open(path).unwrap_err().to_string();
    let missing = parent.path().join("missing");
    let error = refused(&missing);
    assert!(
        error.contains("missing: cannot open") && error.contains("Create it"),
        "{error}"
    );
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file);
    assert!(error.contains("Name a directory"), "{error}");
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let directory = scratch();
    let first = open(directory.path());
    let error = Directory::open(directory.path()).unwrap_err();
    assert!(matches!(error, PublishError::Locked { .. }));
    assert!(
        error.to_string().contains("another nats-mtls-agent"),
        "{error}"
    );
    drop(first);
    open(directory.path());
}

#[test]
fn a_directory_that_was_replaced_is_noticed() {
    let parent = scratch();
    let path = parent.path().join("a");
    fs::create_dir(&path).unwrap();
    let directory = open(&path);
    assert!(directory.is_in_place());
    fs::rename(&path, parent.path().join("b")).unwrap();
    assert!(!directory.is_in_place());
    fs::create_dir(&path).unwrap();
    assert!(!directory.is_in_place());
}
