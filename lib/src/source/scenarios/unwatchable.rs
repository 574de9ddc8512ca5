//! Systems on which watching does not work, or not always.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use notify::{Config, EventHandler, RecursiveMode, Watcher, WatcherKind};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::super::watch::{RETRY, Watch};
use super::*;

/// Accepts this many directories, then runs out of watches.
struct Scarce(Arc<AtomicU32>);

impl Watcher for Scarce {
    fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
        unreachable!("made by the test")
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
        let left = &self.0;
        let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        taken
            .map(drop)
            .map_err(|_| notify::Error::new(notify::ErrorKind::MaxFilesWatch))
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

/// Dies like the thread of `notify`: everything panics, dropping included.
struct Dead;

impl Watcher for Dead {
    fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
        unreachable!("made by the test")
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
        panic!("the thread is gone")
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        panic!("the thread is gone")
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        panic!("the thread is gone");
    }
}

fn two() -> BTreeSet<PathBuf> {
    BTreeSet::from([PathBuf::from("/"), PathBuf::from("/proc")])
}

#[test]
fn a_watcher_that_cannot_start_is_tried_again_after_a_minute() {
    let starts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&starts);
    let mut watch = Watch::with_start(
        Arc::new(Notify::new()),
        Box::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Err(notify::Error::io(io::Error::from(Errno::MFILE))),
            _ => Ok(Box::new(Scarce(Arc::new(AtomicU32::new(9))))),
        }),
    );
    let begin = Instant::now();
    for seconds in [0, 10, 59] {
        watch.follow(&two(), begin + Duration::from_secs(seconds));
        assert_eq!(watch.mode(), WatcherMode::Poll);
        assert_eq!(starts.load(Ordering::SeqCst), 1);
    }
    watch.follow(&two(), begin + RETRY);
    assert_eq!(watch.mode(), WatcherMode::Notified);
}

#[test]
fn too_few_watches_mean_polling_until_there_are_enough() {
    let left = Arc::new(AtomicU32::new(1));
    let watches = Arc::clone(&left);
    let mut watch = Watch::with_start(
        Arc::new(Notify::new()),
        Box::new(move |_| Ok(Box::new(Scarce(Arc::clone(&watches))))),
    );
    watch.follow(&two(), Instant::now());
    assert_eq!(watch.mode(), WatcherMode::Poll);
    left.store(9, Ordering::SeqCst);
    watch.follow(&two(), Instant::now());
    assert_eq!(watch.mode(), WatcherMode::Notified);
}

#[test]
fn a_dead_watcher_takes_nothing_with_it() {
    let mut watch = Watch::with_start(Arc::new(Notify::new()), Box::new(|_| Ok(Box::new(Dead))));
    let begin = Instant::now();
    watch.follow(&two(), begin);
    watch.follow(&two(), begin + RETRY);
    assert_eq!(watch.mode(), WatcherMode::Poll);
}

/// Writes down what it is asked for; directories that do not exist cannot be watched.
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn note(&self, verb: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().display();
        self.0.lock().unwrap().push(format!("{verb} {name}"));
    }
}

impl Watcher for Recorder {
    fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
        unreachable!("made by the test")
    }

    fn watch(&mut self, path: &Path, _: RecursiveMode) -> notify::Result<()> {
        if !path.exists() {
            return Err(notify::Error::path_not_found());
        }
        self.note("watch", path);
        Ok(())
    }

    fn unwatch(&mut self, path: &Path) -> notify::Result<()> {
        self.note("unwatch", path);
        Ok(())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

#[test]
fn directories_that_were_left_or_replaced_are_let_go() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| root.path().join(name));
    fs::create_dir(&a).unwrap();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&notes);
    let start = move |_| Ok(Box::new(Recorder(Arc::clone(&recorder))) as Box<_>);
    let mut watch = Watch::with_start(Arc::new(Notify::new()), Box::new(start));
    let mut follow = |directories: &[&PathBuf]| {
        let directories = directories.iter().map(|path| (*path).clone()).collect();
        watch.follow(&directories, Instant::now());
        // A directory that vanished meanwhile is no failure of watching.
        assert_eq!(watch.mode(), WatcherMode::Notified);
        std::mem::take(&mut *notes.lock().unwrap())
    };
    assert_eq!(follow(&[&a, &b]), ["watch a"]);
    fs::create_dir(&b).unwrap();
    assert_eq!(follow(&[&a, &b]), ["watch a", "watch b"]);
    fs::rename(&a, root.path().join("c")).unwrap();
    fs::create_dir(&a).unwrap();
    assert_eq!(follow(&[&a, &b]), ["unwatch a", "watch a", "watch b"]);
    assert_eq!(follow(&[&b]), ["unwatch a", "watch b"]);
}

/// What the kernel says to each question.
struct Refusing(Errno);

impl Watcher for Refusing {
    fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
        unreachable!("made by the test")
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
        Err(notify::Error::io(self.0.into()))
    }

    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}

#[test]
fn a_directory_that_vanishes_while_the_kernel_is_asked_is_no_failure_of_watching() {
    for (says, mode) in [
        (Errno::NOENT, WatcherMode::Notified),
        (Errno::ACCESS, WatcherMode::Poll),
    ] {
        let start = move |_| Ok(Box::new(Refusing(says)) as Box<_>);
        let mut watch = Watch::with_start(Arc::new(Notify::new()), Box::new(start));
        watch.follow(&two(), Instant::now());
        assert_eq!(watch.mode(), mode, "{says}");
    }
}

#[test]
fn more_directories_than_the_limit_mean_polling() {
    let many = (0..100)
        .map(|number| PathBuf::from(format!("/{number}")))
        .collect();
    let mut watch = Watch::with_start(
        Arc::new(Notify::new()),
        Box::new(|_| Ok(Box::new(Scarce(Arc::new(AtomicU32::new(1000)))))),
    );
    watch.follow(&many, Instant::now());
    assert_eq!(watch.mode(), WatcherMode::Poll);
}

#[tokio::test]
async fn without_a_watcher_files_are_still_read() {
    let root = tempfile::tempdir().unwrap();
    write_set(root.path(), "1");
    let [certificate, key, roots] = NAMES.map(|name| root.path().join(name));
    let files = Files::new(certificate, key, roots);
    let mut source = FilesSource::start(&files, |signal| {
        let fail = |_| Err(notify::Error::io(io::Error::from(Errno::MFILE)));
        Watch::with_start(signal, Box::new(fail))
    });
    assert_eq!(source.watcher_mode(), WatcherMode::Poll);
    assert_eq!(version(&mut source).await, "1");
    write_set(root.path(), "2");
    assert_eq!(version(&mut source).await, "2");
    assert_eq!(source.watcher_mode(), WatcherMode::Poll);
    assert!(timeout(QUIET, source.changed()).await.is_err());
}
