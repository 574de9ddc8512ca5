//! The bytes of one file: bounded, regular files only, and never blocked by what lies there.
//!
//! Knows nothing of sets, links or retries.

use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::ReadErrorCause;

/// Reads the regular file at `path` if it is at most `limit` bytes long.
///
/// # Errors
/// [`ReadErrorCause::NotAFile`], [`ReadErrorCause::TooLarge`] or [`ReadErrorCause::Io`].
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, ReadErrorCause> {
    // Asked before opening, because opening a device can have effects of its own (a tape rewinds,
    // a watchdog starts), and again afterwards, because the file may have been replaced.
    regular(&fs::metadata(path)?)?;
    let mut file = open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    if metadata.len() > limit {
        return Err(ReadErrorCause::TooLarge { limit });
    }
    fill(&mut file, metadata.len(), limit)
}

/// NONBLOCK: opening a FIFO without a writer, or a leased file, would wait for ever.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Reads to the end. The buffer never grows in place: a reallocation would leave a copy of the
/// key behind that nobody zeroises.
fn fill(file: &mut File, expected: u64, limit: u64) -> Result<Zeroizing<Vec<u8>>, ReadErrorCause> {
    let most = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    // One byte more than expected, so that the end of the file is seen without growing.
    let capacity = usize::try_from(expected).unwrap_or(most).saturating_add(1);
    let mut buffer = Zeroizing::new(vec![0; capacity.min(most)]);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            if filled == most {
                return Err(ReadErrorCause::TooLarge { limit });
            }
            // It grew since fstat, or the file system reports no sizes (procfs, some FUSE).
            let mut larger =
                Zeroizing::new(vec![
                    0;
                    filled.saturating_mul(2).clamp(4096.min(most), most)
                ]);
            for (to, from) in larger.iter_mut().zip(buffer.iter()) {
                *to = *from;
            }
            buffer = larger;
        }
        match file.read(buffer.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn regular(metadata: &fs::Metadata) -> Result<(), ReadErrorCause> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(ReadErrorCause::NotAFile {
        found: name_of(metadata.file_type()),
    })
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_block_device() {
        "a block device"
    } else {
        "something else"
    }
}

impl From<io::Error> for ReadErrorCause {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LIMIT: u64 = 1 << 20;

    #[cfg(target_os = "linux")] // rustix has no mknodat elsewhere.
    #[test]
    fn only_regular_files_are_read_and_nothing_blocks() {
        use rustix::fs::{CWD, FileType as Kind, mknodat};
        use std::os::unix::net::UnixListener;

        let found = |path: &Path| match read_file(path, LIMIT) {
            Err(ReadErrorCause::NotAFile { found }) => found,
            other => panic!("{path:?} gave {other:?}"),
        };
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(found(&fifo), "a FIFO");
        // A file that becomes a FIFO between the question and opening does not block either.
        assert!(open(&fifo).is_ok());
        assert_eq!(found(&socket), "a socket");
        assert_eq!(found(directory.path()), "a directory");
        assert_eq!(found(Path::new("/dev/zero")), "a character device");
    }

    #[test]
    fn size_is_limited_to_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (size, limit, accepted) in [
            (0, 0, true),
            (0, 10, true),
            (10, 10, true),
            (11, 10, false),
            (10 << 20, LIMIT, false),
        ] {
            fs::write(&path, vec![b'x'; size]).unwrap();
            let answer = read_file(&path, limit);
            if accepted {
                assert_eq!(answer.unwrap().len(), size);
            } else {
                assert_eq!(answer.unwrap_err(), ReadErrorCause::TooLarge { limit });
            }
        }
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_still_limited() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![b'x'; 10_000]).unwrap();
        for (expected, limit, accepted) in [
            (0, 10_000, true),
            (0, 9_999, false),
            (9_999, 10_000, true),
            (9_999, 9_999, false),
            (20_000, 20_000, true),
        ] {
            let answer = fill(&mut File::open(&path).unwrap(), expected, limit);
            assert_eq!(answer.is_ok_and(|bytes| bytes.len() == 10_000), accepted);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_without_sizes_is_read_too() {
        let bytes = read_file(Path::new("/proc/self/status"), LIMIT).unwrap();
        assert!(bytes.starts_with(b"Name:"));
    }

    #[test]
    fn the_error_of_the_system_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let missing = read_file(&directory.path().join("no"), LIMIT).unwrap_err();
        assert!(missing.to_string().contains("No such file"), "{missing}");
        let through = read_file(&file.join("tls.crt"), LIMIT).unwrap_err();
        assert!(through.to_string().contains("Not a directory"), "{through}");
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        if rustix::process::geteuid().is_root() {
            return; // Root reads whatever the mode says; the case above covers the path.
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        let error = read_file(&file, LIMIT).unwrap_err();
        assert!(error.to_string().contains("Permission denied"), "{error}");
    }
}
