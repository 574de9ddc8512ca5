//! One coherent read of a set of files.
//!
//! Owns the order of things: follow links, watch what was followed, read, and do all of it again
//! until two readings in a row agree. Blocks, so it belongs on a blocking thread.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::open::read_file;
use super::trail::{Links, Stop, Trail};
use super::{PartKind, RawKey, RawMaterial, RawPart, ReadError, ReadErrorCause};

/// Nothing larger is a certificate, a key or a bundle of roots.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// Two readings are the least that can agree; a swap in the middle costs one or two more.
const MAX_READINGS: u32 = 8;

/// After the n-th disagreement the reader waits n times this long: 21 ms at most in all.
const PAUSE: Duration = Duration::from_millis(1);

type Content = Result<Zeroizing<Vec<u8>>, ReadErrorCause>;

/// A file of the set.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) kind: PartKind,
    /// The path as it was configured, for messages.
    pub(super) origin: String,
    /// The same, absolute.
    pub(super) path: PathBuf,
}

/// What one reading of all files found. Equal readings show the same set at the same places.
#[derive(PartialEq, Eq)]
pub(super) struct Reading {
    /// In the order of the set, up to the first that failed.
    parts: Vec<(PartKind, Content)>,
    /// The files behind all links.
    pub(super) files: Vec<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

/// Follows all links of the set, without reading: the directories to watch.
pub(super) fn directories_of(set: &[Part]) -> BTreeSet<PathBuf> {
    trails(set)
        .into_iter()
        .flat_map(|trail| trail.directories)
        .collect()
}

/// Reads the set until two readings in a row agree.
///
/// Bytes are compared, not times: an in-place writer can leave size and times as they were (the
/// clock of a file system ticks every few milliseconds, a memory map updates it late), and the
/// files are small enough to be read twice at every poll.
///
/// `watch` is told the directories between following the links and reading. As the reading that
/// is returned followed the same links as the one before, the watches were in place before it
/// began, and whatever changes after it is noticed.
///
/// # Errors
/// Of the first part that failed, in the order of the set, or [`ReadErrorCause::Unstable`].
pub(super) fn read(
    set: &[Part],
    mut watch: impl FnMut(&BTreeSet<PathBuf>),
) -> (Result<RawMaterial, ReadError>, Vec<PathBuf>) {
    let last = agree(|| Reading::take(set, &mut watch), std::thread::sleep);
    match last {
        Ok(mut reading) => {
            let files = std::mem::take(&mut reading.files);
            (reading.into_material(set), files)
        }
        Err(unstable) => (
            Err(error_of(
                set,
                unstable,
                ReadErrorCause::Unstable {
                    attempts: MAX_READINGS,
                },
            )),
            Vec::new(),
        ),
    }
}

/// Takes readings until two in a row are equal. The error is the part that differed last.
fn agree(
    mut take: impl FnMut() -> Reading,
    mut pause: impl FnMut(Duration),
) -> Result<Reading, Option<PartKind>> {
    let mut former = take();
    let mut differed = None;
    for count in 1..MAX_READINGS {
        let reading = take();
        if reading == former {
            return Ok(reading);
        }
        differed = reading.differs_in(&former);
        former = reading;
        if count + 1 < MAX_READINGS {
            pause(PAUSE * count);
        }
    }
    Err(differed)
}

impl Reading {
    fn take(set: &[Part], watch: &mut impl FnMut(&BTreeSet<PathBuf>)) -> Self {
        let trails = trails(set);
        let directories = trails
            .iter()
            .flat_map(|trail| trail.directories.iter().cloned())
            .collect();
        watch(&directories);
        let mut parts = Vec::new();
        let mut files = Vec::new();
        for (part, trail) in set.iter().zip(trails) {
            let content = match trail.file {
                Ok(file) => {
                    let content = read_file(&file, MAX_FILE);
                    files.push(file);
                    content
                }
                Err(stop) => Err(cause_of(&part.path, &stop)),
            };
            let failed = content.is_err();
            parts.push((part.kind, content));
            if failed {
                break;
            }
        }
        Self {
            parts,
            files,
            directories,
        }
    }

    fn differs_in(&self, other: &Self) -> Option<PartKind> {
        let mut pairs = self.parts.iter().zip(&other.parts);
        pairs
            .find(|(one, two)| one != two)
            .map(|((kind, _), _)| *kind)
    }

    fn into_material(self, set: &[Part]) -> Result<RawMaterial, ReadError> {
        let (mut certificate, mut key, mut roots) = (None, RawKey::InCertificate, None);
        let (mut crls, mut issuer) = (None, None);
        for (part, (kind, content)) in set.iter().zip(self.parts) {
            let read = RawPart {
                origin: part.origin.clone(),
                bytes: content.map_err(|cause| error_of(set, Some(kind), cause))?,
            };
            match kind {
                PartKind::Certificate => certificate = Some(read),
                PartKind::Key => key = RawKey::Pem(read),
                PartKind::Roots => roots = Some(read),
                PartKind::Crls => crls = Some(read),
                PartKind::Issuer => issuer = Some(read),
            }
        }
        let missing = |kind| {
            error_of(
                set,
                Some(kind),
                ReadErrorCause::Io("is not configured".to_owned()),
            )
        };
        Ok(RawMaterial {
            certificate: certificate.ok_or_else(|| missing(PartKind::Certificate))?,
            key,
            roots: roots.ok_or_else(|| missing(PartKind::Roots))?,
            crls,
            issuer,
        })
    }
}

/// An error that names the part `kind` of `set`; the first part, if none is known.
pub(super) fn error_of(set: &[Part], kind: Option<PartKind>, cause: ReadErrorCause) -> ReadError {
    let part = set
        .iter()
        .find(|part| Some(part.kind) == kind)
        .or_else(|| set.first());
    ReadError {
        part: part.map_or(PartKind::Certificate, |part| part.kind),
        origin: part.map(|part| part.origin.clone()).unwrap_or_default(),
        cause,
    }
}

/// All paths are followed through one [`Links`], before anything is read: see there.
fn trails(set: &[Part]) -> Vec<Trail> {
    let mut links = Links::default();
    set.iter().map(|part| links.walk(&part.path)).collect()
}

fn cause_of(configured: &Path, stop: &Stop) -> ReadErrorCause {
    let error = &stop.error;
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP) {
        ReadErrorCause::Io(format!("symlink loop: {error}"))
    } else if stop.at == configured {
        ReadErrorCause::Io(error.to_string())
    } else {
        ReadErrorCause::Io(format!("{error}: {}", stop.at.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(certificate: &str, key: &str) -> Reading {
        let content = |text: &str| Ok(Zeroizing::new(text.as_bytes().to_vec()));
        Reading {
            parts: vec![
                (PartKind::Certificate, content(certificate)),
                (PartKind::Key, content(key)),
            ],
            files: vec![PathBuf::from("/tls.crt")],
            directories: BTreeSet::from([PathBuf::from("/")]),
        }
    }

    fn agree_on(
        mut next: impl FnMut(u32) -> Reading,
    ) -> (Result<Reading, Option<PartKind>>, u32, Duration) {
        let mut taken = 0;
        let mut paused = Duration::ZERO;
        let take = || {
            taken += 1;
            next(taken)
        };
        let answer = agree(take, |pause| paused += pause);
        (answer, taken, paused)
    }

    #[test]
    fn a_stable_set_is_read_twice_and_without_a_pause() {
        let (answer, taken, paused) = agree_on(|_| reading("a", "a"));
        assert!(answer.is_ok());
        assert_eq!((taken, paused), (2, Duration::ZERO));
    }

    #[test]
    fn the_first_two_that_agree_win() {
        let (answer, taken, _) = agree_on(|count| {
            reading(
                if count < 4 { "torn" } else { "b" },
                &count.min(4).to_string(),
            )
        });
        assert!(answer.is_ok_and(|last| last == reading("b", "4")));
        assert_eq!(taken, 5);
    }

    #[test]
    fn the_same_bytes_at_another_place_do_not_agree() {
        let (_, taken, _) = agree_on(|count| {
            let mut reading = reading("a", "a");
            reading
                .directories
                .insert(PathBuf::from(format!("/{}", count.min(2))));
            reading
        });
        assert_eq!(taken, 3);
    }

    #[test]
    fn what_never_agrees_names_the_part_that_differs() {
        let (answer, taken, paused) = agree_on(|count| reading("a", &count.to_string()));
        assert!(matches!(answer, Err(Some(PartKind::Key))));
        assert_eq!((taken, paused), (MAX_READINGS, PAUSE * 21));
    }
}
