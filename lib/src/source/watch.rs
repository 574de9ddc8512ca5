//! Word that something changed in a directory that matters.
//!
//! Watches parent directories, never files: a watch on a file goes deaf when the file is replaced.
//! Filters by no file name, because the events of a Kubernetes swap never name `tls.crt`. Decides
//! nothing; whether content changed is found out by reading. Where watching fails it says so, and
//! the manager's polling has to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecursiveMode, Watcher};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::WatcherMode;

/// How long a watcher that could not be started is left alone.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// A set of five files with a few links each needs far less; the rest is left to polling.
const MAX_DIRECTORIES: usize = 64;

/// Starts a watcher whose events go to the given [`Notify`]. A parameter, so that tests can fail.
pub(super) type Start = Box<dyn FnMut(Arc<Notify>) -> notify::Result<Running> + Send>;
pub(super) type Running = Box<dyn Watcher + Send>;

/// Device and inode: a directory that was replaced has the same path and needs a new watch.
type Identity = Option<(u64, u64)>;

/// The directories being watched.
pub(super) struct Watch {
    start: Start,
    signal: Arc<Notify>,
    running: Option<Running>,
    watched: BTreeMap<PathBuf, Identity>,
    not_before: Option<Instant>,
    /// Whether all that should be watched is watched.
    mode: WatcherMode,
    /// The warning was given; not again before watching worked in between.
    warned: bool,
}

impl Watch {
    /// Watches nothing yet. Changes are sent to `signal`.
    pub(super) fn new(signal: Arc<Notify>) -> Self {
        Self::with_start(signal, Box::new(start_recommended))
    }

    pub(super) fn with_start(signal: Arc<Notify>, start: Start) -> Self {
        Self {
            start,
            signal,
            running: None,
            watched: BTreeMap::new(),
            not_before: None,
            mode: WatcherMode::Poll,
            warned: false,
        }
    }

    pub(super) const fn mode(&self) -> WatcherMode {
        self.mode
    }

    /// Watches exactly `directories` from now on. Never fails; see [`Watch::mode`].
    pub(super) fn follow(&mut self, directories: &BTreeSet<PathBuf>, now: Instant) {
        if self.running.is_none() && self.not_before.is_some_and(|at| now < at) {
            return;
        }
        let outcome = self.try_follow(directories);
        if matches!(&outcome, Err(Failure::Directory(_, error)) if is_dead(error)) {
            self.stop();
        }
        self.note(outcome, now);
    }

    fn try_follow(&mut self, directories: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        let watcher = match &mut self.running {
            Some(running) => running,
            none => {
                let signal = Arc::clone(&self.signal);
                let started = contained(|| (self.start)(signal)).map_err(Failure::Start)?;
                none.insert(started)
            }
        };
        let mut outcome = Ok(());
        self.watched.retain(|path, identity| {
            let wanted = directories.contains(path) && *identity == identity_of(path);
            if !wanted {
                // It may be gone already, along with its watch.
                let _ = contained(|| watcher.unwatch(path));
            }
            wanted
        });
        // Asked for again at every call, although most are watched already: a directory that was
        // removed and made again can have the same inode and no watch. The kernel keeps one
        // watch per inode, so that asking twice changes nothing.
        for path in directories.iter().take(MAX_DIRECTORIES) {
            let identity = identity_of(path);
            match contained(|| watcher.watch(path, RecursiveMode::NonRecursive)) {
                Ok(()) => {
                    self.watched.insert(path.clone(), identity);
                }
                // Gone since the links were followed. The next reading follows them again.
                Err(error) if is_gone(&error) => {}
                Err(error) => outcome = Err(Failure::Directory(path.clone(), error)),
            }
        }
        if directories.len() > MAX_DIRECTORIES {
            outcome = Err(Failure::TooMany(directories.len()));
        }
        outcome
    }

    fn note(&mut self, outcome: Result<(), Failure>, now: Instant) {
        match outcome {
            Ok(()) => {
                if self.warned {
                    tracing::info!("watching the files again, polling is the backstop");
                }
                self.mode = WatcherMode::Notified;
                self.warned = false;
            }
            Err(failure) => {
                if !self.warned {
                    tracing::warn!("{failure}: relying on polling, which notices changes later");
                }
                self.not_before = Some(now + RETRY);
                self.mode = WatcherMode::Poll;
                self.warned = true;
            }
        }
    }

    /// Even dropping a watcher whose thread is gone panics.
    fn stop(&mut self) {
        self.watched.clear();
        let running = self.running.take();
        let _ = contained(|| {
            drop(running);
            Ok(())
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("watched", &self.watched)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

fn start_recommended(signal: Arc<Notify>) -> notify::Result<Running> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error (an overflow, a failed read of the queue) may hide a change.
        if event.map_or(true, |event| may_change_something(event.kind)) {
            signal.notify_one();
        }
    })?;
    Ok(Box::new(watcher))
}

/// All but opening and reading. Those have to be ignored, because our own reading raises them: it
/// would wake itself for ever.
const fn may_change_something(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::Access(
            AccessKind::Open(_)
                | AccessKind::Read
                | AccessKind::Close(AccessMode::Read | AccessMode::Execute)
        )
    )
}

/// `notify` panics when its thread is gone or could not be started (a limit on processes). That
/// must not take the certificates down with it.
fn contained<T>(call: impl FnOnce() -> notify::Result<T>) -> notify::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(notify::Error::generic("the watcher's thread does not run")))
}

fn is_dead(error: &notify::Error) -> bool {
    matches!(error.kind, ErrorKind::Generic(_))
}

/// `notify` looks whether a path is there before it asks the kernel, which may find it gone then.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn identity_of(path: &Path) -> Identity {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Why not everything is watched.
#[derive(Debug)]
enum Failure {
    Start(notify::Error),
    Directory(PathBuf, notify::Error),
    TooMany(usize),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "cannot watch files ({error}{})", hint(error)),
            Self::Directory(path, error) => {
                write!(
                    f,
                    "cannot watch {} ({error}{})",
                    path.display(),
                    hint(error)
                )
            }
            Self::TooMany(count) => {
                write!(f, "{count} directories to watch, limit {MAX_DIRECTORIES}")
            }
        }
    }
}

/// What a person can do about it. See inotify(7) for the limits.
fn hint(error: &notify::Error) -> &'static str {
    let number = match &error.kind {
        ErrorKind::MaxFilesWatch => Some(Errno::NOSPC),
        ErrorKind::Io(error) => Errno::from_io_error(error),
        _ => None,
    };
    match number {
        Some(Errno::MFILE | Errno::NFILE) => {
            "; raise the sysctl fs.inotify.max_user_instances or the limit on open files"
        }
        Some(Errno::NOSPC | Errno::NOMEM) => "; raise the sysctl fs.inotify.max_user_watches",
        Some(Errno::ACCESS | Errno::PERM) => "; a directory must be readable to be watched",
        _ => "",
    }
}
