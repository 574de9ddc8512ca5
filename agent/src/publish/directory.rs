//! The file system as it is: system calls relative to one open directory, which is also the lock.
//!
//! Links in it are never followed, so that whoever may write into the directory cannot lead us to
//! files elsewhere.

use std::ffi::OsStr;
use std::fs::{File as OpenFile, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use zeroize::Zeroizing;

use super::contents::File;
use super::error::{Action, PublishError};
use super::layout::{Entry, Kind, SetName};
use super::storage::{Storage, WriteError};

/// Nobody but the owner, until it is finished.
const PRIVATE: u32 = 0o700;
/// The files in it have modes of their own.
const OPEN: u32 = 0o755;

/// An open and locked publish directory. The lock ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Directory {
    handle: OpenFile,
    path: PathBuf,
    flush: Flush,
}

/// Returns once a file is on the disk. A test puts something else in its place, because nothing
/// else shows whether it was asked for.
type Flush = fn(&OpenFile) -> io::Result<()>;

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, PublishError> {
        let failed = |action| {
            move |cause: io::Error| PublishError::Io {
                path: path.to_owned(),
                action,
                cause,
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(failed(Action::Open))?;
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                handle: handle.into(),
                path: path.to_owned(),
                flush: OpenFile::sync_all,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PublishError::Locked {
                path: path.to_owned(),
            }),
            Err(error) => Err(failed(Action::Lock)(error.into())),
        }
    }

    #[cfg(test)]
    pub(super) fn flushing_with(self, flush: Flush) -> Self {
        Self { flush, ..self }
    }

    /// Whether its path still leads to it: a volume may have been mounted over it.
    pub(super) fn is_in_place(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let here = self.handle.metadata().map(identity).ok();
        here.is_some() && here == std::fs::metadata(&self.path).map(identity).ok()
    }

    fn open_set(&self, set: &SetName) -> io::Result<OpenFile> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let set = rustix::fs::openat(&self.handle, set.as_str(), flags, Mode::empty())?;
        Ok(set.into())
    }
}

impl Storage for Directory {
    fn entries(&self) -> io::Result<Vec<Entry>> {
        entries_in(&self.handle)
    }

    fn holds(&self, set: &SetName, file: &File) -> io::Result<bool> {
        let set = self.open_set(set)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = match rustix::fs::openat(&set, file.name, flags, Mode::empty()) {
            Ok(handle) => OpenFile::from(handle),
            // Another file, or a link in its place.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let metadata = handle.metadata()?;
        let is_alike = metadata.is_file()
            && metadata.len() == file.bytes.len() as u64
            && metadata.mode() & 0o7777 == file.mode
            && file.group.is_none_or(|group| group == metadata.gid());
        Ok(is_alike && read_all(handle, file.bytes.len())? == file.bytes)
    }

    fn make_set(&self, set: &SetName) -> io::Result<()> {
        let mode = Mode::from_raw_mode(PRIVATE);
        Ok(rustix::fs::mkdirat(&self.handle, set.as_str(), mode)?)
    }

    fn write(&self, set: &SetName, file: &File) -> Result<(), WriteError> {
        let write = || {
            let set = self.open_set(set)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o600);
            let mut handle = OpenFile::from(rustix::fs::openat(&set, file.name, flags, mode)?);
            handle.write_all(&file.bytes)?;
            Ok(handle)
        };
        let handle = write().map_err(WriteError::Write)?;
        if let Some(group) = file.group {
            fchown(&handle, None, Some(group)).map_err(WriteError::Group)?;
        }
        // Last: until here it is for the owner alone. Also, the umask has no say in it.
        let permit = handle.set_permissions(Permissions::from_mode(file.mode));
        permit
            .and_then(|()| (self.flush)(&handle))
            .map_err(WriteError::Write)
    }

    fn seal(&self, set: &SetName) -> io::Result<()> {
        let set = self.open_set(set)?;
        set.set_permissions(Permissions::from_mode(OPEN))?;
        (self.flush)(&set)
    }

    fn link(&self, target: &Path, name: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.handle, name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    fn flush(&self) -> io::Result<()> {
        (self.flush)(&self.handle)
    }

    fn remove_link(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    fn entries_of(&self, set: &SetName) -> io::Result<Vec<Entry>> {
        entries_in(&self.open_set(set)?)
    }

    fn remove_file(&self, set: &SetName, name: &str) -> io::Result<()> {
        let set = self.open_set(set)?;
        Ok(rustix::fs::unlinkat(&set, name, AtFlags::empty())?)
    }

    fn remove_set(&self, set: &SetName) -> io::Result<()> {
        let flags = AtFlags::REMOVEDIR;
        Ok(rustix::fs::unlinkat(&self.handle, set.as_str(), flags)?)
    }
}

fn entries_in(directory: &OpenFile) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if let Some(kind) = kind_of(directory, name)? {
            let name = name.to_owned();
            entries.push(Entry { name, kind });
        }
    }
    Ok(entries)
}

/// None if it has gone meanwhile.
fn kind_of(directory: &OpenFile, name: &OsStr) -> io::Result<Option<Kind>> {
    let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => FileType::from_raw_mode(found.st_mode),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(match found {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            let target = std::ffi::OsString::from_vec(target.into_bytes());
            Kind::Link(target.into())
        }
        _ => Kind::Other,
    }))
}

/// At most one byte more than expected, in a buffer that does not grow: it may be a key.
fn read_all(file: OpenFile, expected: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected.saturating_add(64)));
    file.take(expected as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
