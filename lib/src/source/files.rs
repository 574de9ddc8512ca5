//! The files of a set, and the source that reads and watches them.
//!
//! A thin shell: what a read is lies in `read`, what a change is in `watch`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, Notify};

use super::mounts::Mounts;
use super::pace::Pace;
use super::read::{self, Part};
use super::watch::Watch;
use super::{
    PartKind, RawMaterial, ReadError, ReadErrorCause, Source, SourceFuture, SourceWarning,
    WatcherMode,
};

/// Which files hold the certificate set. All are PEM, at most 1 MiB each.
///
/// A relative path is relative to the working directory at the time the source starts. Symlinks
/// may change at any time (Kubernetes `..data`); a file may be missing at first.
///
/// ```
/// use nats_mtls::source::Files;
///
/// let files = Files::new("tls.crt", "tls.key", "ca.crt").crls("crl.pem");
/// # drop(files);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Files {
    certificate: PathBuf,
    key: Option<PathBuf>,
    roots: PathBuf,
    crls: Option<PathBuf>,
    issuer: Option<PathBuf>,
}

impl Files {
    /// Certificate chain (leaf first), private key and CA roots in a file each.
    pub fn new(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        roots: impl Into<PathBuf>,
    ) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::combined(certificate, roots)
        }
    }

    /// The private key in the same file as the certificate chain, before or after it, as Vault and
    /// Kubernetes Pod Certificates write it.
    pub fn combined(bundle: impl Into<PathBuf>, roots: impl Into<PathBuf>) -> Self {
        Self {
            certificate: bundle.into(),
            key: None,
            roots: roots.into(),
            crls: None,
            issuer: None,
        }
    }

    /// Certificate revocation lists that the server's certificate is checked against.
    pub fn crls(mut self, path: impl Into<PathBuf>) -> Self {
        self.crls = Some(path.into());
        self
    }

    /// A bundle that the own certificate chain must lead to.
    pub fn issuer(mut self, path: impl Into<PathBuf>) -> Self {
        self.issuer = Some(path.into());
        self
    }

    /// Starts watching. Never fails: missing files are reported by [`Source::read`], and without
    /// a working watcher [`Source::watcher_mode`] says [`WatcherMode::Poll`] and a warning is
    /// logged.
    ///
    /// Makes a few system calls that block for as long as the file system does.
    #[must_use]
    pub fn into_source(self) -> FilesSource {
        FilesSource::start(&self, Watch::new)
    }

    /// In the order in which failures are reported.
    fn parts(&self) -> Vec<Part> {
        let part = |kind, path: &Path| Part {
            kind,
            origin: path.display().to_string(),
            // Fails only without a path or a working directory; reading then says what is wrong.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        };
        [
            (PartKind::Certificate, Some(&self.certificate)),
            (PartKind::Key, self.key.as_ref()),
            (PartKind::Roots, Some(&self.roots)),
            (PartKind::Crls, self.crls.as_ref()),
            (PartKind::Issuer, self.issuer.as_ref()),
        ]
        .into_iter()
        .filter_map(|(kind, path)| Some(part(kind, path?)))
        .collect()
    }
}

impl From<Files> for FilesSource {
    fn from(files: Files) -> Self {
        files.into_source()
    }
}

/// The [`Source`] made from [`Files`].
///
/// Reads on tokio's blocking threads, one read at a time: a dropped read runs to its end, and the
/// next one waits for it, so that a file system that hangs costs one thread and not one per poll.
#[derive(Debug)]
pub struct FilesSource {
    shared: Arc<Mutex<Reader>>,
    signal: Arc<Notify>,
    pace: Pace,
    standing: Standing,
}

/// What a read needs and leaves behind. Lives on the blocking thread during a read.
#[derive(Debug)]
struct Reader {
    set: Vec<Part>,
    watch: Watch,
    mounts: Mounts,
}

/// What is known since the last read that was waited for.
#[derive(Debug)]
struct Standing {
    mode: WatcherMode,
    warnings: Vec<SourceWarning>,
}

impl FilesSource {
    pub(super) fn start(files: &Files, watch: impl FnOnce(Arc<Notify>) -> Watch) -> Self {
        let signal = Arc::new(Notify::new());
        let mut reader = Reader {
            set: files.parts(),
            watch: watch(Arc::clone(&signal)),
            mounts: Mounts::default(),
        };
        let directories = read::directories_of(&reader.set);
        reader.watch.follow(&directories, Instant::now());
        Self {
            standing: Standing {
                mode: reader.watch.mode(),
                warnings: Vec::new(),
            },
            shared: Arc::new(Mutex::new(reader)),
            signal,
            pace: Pace::new(tokio::time::Instant::now()),
        }
    }

    async fn next_change(&mut self) {
        let now = tokio::time::Instant::now();
        let next = self.pace.next(now);
        // Waits before the signal is taken: dropped here, the change is still in the signal.
        if next > now {
            tokio::time::sleep_until(next).await;
        }
        self.signal.notified().await;
        self.pace.announced(tokio::time::Instant::now());
    }

    async fn read_set(&mut self) -> Result<RawMaterial, ReadError> {
        let mut reader = Arc::clone(&self.shared).lock_owned().await;
        let reading = tokio::task::spawn_blocking(move || reader.read()).await;
        match reading {
            Ok((material, standing)) => {
                self.standing = standing;
                material
            }
            // The runtime is shutting down.
            Err(_) => Err(ReadError {
                part: PartKind::Certificate,
                origin: "files".to_owned(),
                cause: ReadErrorCause::Io("reading was cut off".to_owned()),
            }),
        }
    }
}

impl Reader {
    fn read(&mut self) -> (Result<RawMaterial, ReadError>, Standing) {
        let watch = &mut self.watch;
        let follow = |directories: &_| watch.follow(directories, Instant::now());
        let (material, files) = read::read(&self.set, follow);
        let standing = Standing {
            mode: self.watch.mode(),
            warnings: self.mounts.check(files, Instant::now()).to_vec(),
        };
        (material, standing)
    }
}

impl Source for FilesSource {
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>> {
        Box::pin(self.read_set())
    }

    fn changed(&mut self) -> SourceFuture<'_, ()> {
        Box::pin(self.next_change())
    }

    fn watcher_mode(&self) -> WatcherMode {
        self.standing.mode
    }

    fn warnings(&self) -> Vec<SourceWarning> {
        self.standing.warnings.clone()
    }
}
