//! What an earlier life of the agent published, as a set to start from.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nats_mtls::source::{
    PartKind, RawKey, RawMaterial, RawPart, ReadError, ReadErrorCause, Source, SourceFuture,
    WatcherMode,
};
use rustix::fs::{CWD, Mode, OFlags};
use tokio::task::{JoinHandle, spawn_blocking};

use super::layout::{DATA, SetName};
use crate::config::PublishConfig;

/// More than anything this agent publishes.
const MOST: u64 = 1024 * 1024;

/// Reads the current set of a publish directory, if it is of our own making.
pub(crate) struct Kept {
    config: PublishConfig,
    /// One that nobody waited for until its end. The next read waits for it: a directory that hangs
    /// costs one thread and not one for each attempt.
    reading: Option<Reading>,
}

type Reading = JoinHandle<Result<RawMaterial, ReadError>>;

impl Kept {
    pub(crate) fn new(config: &PublishConfig) -> Self {
        Self {
            config: config.clone(),
            reading: None,
        }
    }

    async fn read_set(&mut self) -> Result<RawMaterial, ReadError> {
        let reading = self.reading.get_or_insert_with(|| {
            let config = self.config.clone();
            spawn_blocking(move || read(&config))
        });
        let read = reading.await;
        self.reading = None;
        read.unwrap_or_else(|_| {
            let problem = "reading was cut off".to_owned();
            Err(failed(&self.config.directory.join(DATA), problem))
        })
    }
}

fn read(config: &PublishConfig) -> Result<RawMaterial, ReadError> {
    let set = Set::open(&config.directory)
        .map_err(|problem| failed(&config.directory.join(DATA), problem))?;
    let crls = config.with_crl.then(|| set.read(PartKind::Crls, "ca.crl"));
    // A demand on the set rather than a part of it, so it lies where it always does.
    let issuer = config.issuer.as_deref().map(|path| {
        let opened = rustix::fs::openat(CWD, path, READ, Mode::empty());
        read_part(PartKind::Issuer, path, opened)
    });
    Ok(RawMaterial {
        certificate: set.read(PartKind::Certificate, "tls.crt")?,
        key: RawKey::Pem(set.read(PartKind::Key, "tls.key")?),
        roots: set.read(PartKind::Roots, "ca.crt")?,
        crls: crls.transpose()?,
        issuer: issuer.transpose()?,
    })
}

/// The directory of the current set, open: what is read is what was looked at, whoever renames
/// something meanwhile.
struct Set {
    handle: File,
    path: PathBuf,
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = READ.union(OFlags::DIRECTORY);

impl Set {
    /// The CA in it is going to be trusted, so it must be a directory that nobody else can have
    /// written into. The one that it lies in may be everybody's, as an emptyDir of Kubernetes is.
    fn open(directory: &Path) -> Result<Self, String> {
        let text = |error: rustix::io::Errno| io::Error::from(error).to_string();
        let parent = rustix::fs::openat(CWD, directory, DIRECTORY, Mode::empty()).map_err(text)?;
        let target = match rustix::fs::readlinkat(&parent, DATA, Vec::new()) {
            Ok(target) => target,
            Err(rustix::io::Errno::NOENT) => {
                return Err("nothing was published there yet".to_owned());
            }
            Err(error) => return Err(text(error)),
        };
        let target = target.to_string_lossy();
        let Some(name) = SetName::parse(target.as_ref().as_ref()) else {
            return Err(format!("leads to {target}, which this agent did not make"));
        };
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        let handle = match rustix::fs::openat(&parent, name.as_str(), flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Err("leads to something that is no directory".to_owned());
            }
            Err(rustix::io::Errno::NOENT) => return Err("leads to a set that is gone".to_owned()),
            Err(error) => return Err(text(error)),
        };
        let metadata = handle.metadata().map_err(|error| error.to_string())?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            Err(format!(
                "leads to a set of user {}, and this agent is user {user}",
                metadata.uid()
            ))
        } else if metadata.mode() & 0o022 != 0 {
            Err("leads to a set that others than its owner may write into".to_owned())
        } else {
            let path = directory.join(name.as_str());
            Ok(Self { handle, path })
        }
    }

    fn read(&self, part: PartKind, name: &str) -> Result<RawPart, ReadError> {
        let flags = READ | OFlags::NOFOLLOW;
        let opened = rustix::fs::openat(&self.handle, name, flags, Mode::empty());
        read_part(part, &self.path.join(name), opened)
    }
}

fn read_part(
    part: PartKind,
    path: &Path,
    opened: rustix::io::Result<std::os::fd::OwnedFd>,
) -> Result<RawPart, ReadError> {
    let failed = |cause| ReadError {
        part,
        origin: path.display().to_string(),
        cause,
    };
    let io = |error: io::Error| failed(ReadErrorCause::Io(error.to_string()));
    let file = File::from(opened.map_err(|error| io(error.into()))?);
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        let found = "something else";
        return Err(failed(ReadErrorCause::NotAFile { found }));
    }
    let mut raw = RawPart::new(path.display().to_string(), Vec::new());
    // All at once: a buffer that grows would leave copies of the key behind.
    raw.bytes
        .reserve_exact(usize::try_from(metadata.len().min(MOST)).unwrap_or(0) + 1);
    file.take(MOST + 1)
        .read_to_end(&mut raw.bytes)
        .map_err(io)?;
    if raw.bytes.len() as u64 > MOST {
        return Err(failed(ReadErrorCause::TooLarge { limit: MOST }));
    }
    Ok(raw)
}

fn failed(data: &Path, problem: String) -> ReadError {
    ReadError {
        part: PartKind::Certificate,
        origin: data.display().to_string(),
        cause: ReadErrorCause::Io(problem),
    }
}

impl Source for Kept {
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>> {
        Box::pin(self.read_set())
    }

    fn changed(&mut self) -> SourceFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn watcher_mode(&self) -> WatcherMode {
        WatcherMode::Poll
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::config::Access;

    /// As one in a mount that hangs: nothing is read before the only thread is free.
    #[test]
    fn a_read_that_hangs_is_not_begun_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (release, hanging) = std::sync::mpsc::channel::<()>();
            spawn_blocking(move || hanging.recv().ok());
            let mut kept = Kept::new(&PublishConfig {
                directory: "/nowhere".into(),
                access: Access {
                    mode: 0o600,
                    group: None,
                },
                with_crl: false,
                issuer: None,
            });
            let mut begun = Vec::new();
            for _ in 0..3 {
                let late = timeout(Duration::from_millis(10), kept.read_set()).await;
                assert!(late.is_err(), "{late:?}");
                begun.extend(kept.reading.as_ref().map(JoinHandle::id));
            }
            assert!(begun.len() == 3 && begun.windows(2).all(|ids| ids[0] == ids[1]));
            drop(release);
            let error = kept.read_set().await.unwrap_err().to_string();
            assert!(error.starts_with("certificate /nowhere/..data"), "{error}");
            assert!(kept.reading.is_none());
        });
    }
}
