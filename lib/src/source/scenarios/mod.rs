//! What writers and administrators do to real files, under a real watcher.
//!
//! No test sleeps to wait: each awaits [`Source::changed`] under a deadline.

mod replaced;
mod swapped;
mod unwatchable;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::{Files, FilesSource, RawKey, RawMaterial, ReadError, Source as _, WatcherMode};

/// Far above what any change takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long nothing may happen for it to count as quiet.
const QUIET: Duration = Duration::from_millis(300);

const NAMES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// Writes the set of one version into `directory`: every file holds the version.
fn write_set(directory: &Path, version: &str) {
    for name in NAMES {
        fs::write(directory.join(name), version).unwrap();
    }
}

fn source_in(directory: &Path) -> FilesSource {
    let [certificate, key, roots] = NAMES.map(|name| directory.join(name));
    Files::new(certificate, key, roots).into_source()
}

/// The version that all parts hold.
fn version_of(material: &RawMaterial) -> String {
    let RawKey::Pem(key) = &material.key else {
        panic!("no key part")
    };
    assert_eq!(
        material.certificate.bytes, key.bytes,
        "certificate and key of two versions"
    );
    assert_eq!(
        material.certificate.bytes, material.roots.bytes,
        "roots of another version"
    );
    String::from_utf8(key.bytes.to_vec()).unwrap()
}

async fn version(source: &mut FilesSource) -> String {
    version_of(&source.read().await.unwrap())
}

/// Reads after each wake-up, as the manager does, until `done` or the deadline.
async fn until(source: &mut FilesSource, done: impl Fn(&Result<RawMaterial, ReadError>) -> bool) {
    let arrived = timeout(DEADLINE, async {
        loop {
            source.changed().await;
            if done(&source.read().await) {
                break;
            }
        }
    });
    arrived.await.expect("the change was never noticed");
}

/// Waits until `file` has arrived as `expected`, whatever the other parts are meanwhile.
async fn until_certificate(source: &mut FilesSource, expected: &str) {
    until(source, |read| {
        read.as_ref()
            .is_ok_and(|material| material.certificate.bytes.as_slice() == expected.as_bytes())
    })
    .await;
}

async fn until_version(source: &mut FilesSource, expected: &str) {
    until(source, |read| {
        read.as_ref().is_ok_and(|material| {
            let key = matches!(&material.key, RawKey::Pem(key) if key.bytes.as_slice() == expected.as_bytes());
            key && [&material.certificate, &material.roots].map(|part| part.bytes.as_slice()) == [expected.as_bytes(); 2]
        })
    })
    .await;
}

/// Takes the wake-ups that are still on their way, then expects silence although the source is read.
async fn settles(source: &mut FilesSource) {
    let settled = timeout(DEADLINE, async {
        while timeout(QUIET, source.changed()).await.is_ok() {}
    });
    settled.await.expect("wake-ups without end");
    for _ in 0..3 {
        let _ = source.read().await;
    }
    assert!(
        timeout(QUIET, source.changed()).await.is_err(),
        "reading woke the reader"
    );
}

/// A volume as kubelet's atomic writer makes it.
struct Volume {
    root: TempDir,
    current: Option<PathBuf>,
}

impl Volume {
    fn new(version: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut volume = Self {
            root,
            current: None,
        };
        volume.swap(version);
        for name in NAMES {
            symlink(Path::new("..data").join(name), volume.path().join(name)).unwrap();
        }
        volume
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    /// New directory, rename a link onto `..data`, remove the old directory.
    fn swap(&mut self, version: &str) {
        let name = format!("..2026_{version}");
        let directory = self.path().join(&name);
        fs::create_dir(&directory).unwrap();
        write_set(&directory, version);
        symlink(&name, self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        if let Some(former) = self.current.replace(directory) {
            fs::remove_dir_all(former).unwrap();
        }
    }
}
