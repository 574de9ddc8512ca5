//! Which file a path means right now: symlinks are followed here, one by one, and not by the
//! kernel.
//!
//! Two things need that. A read must see every link once only, so that certificate and key which
//! share a link (Kubernetes `..data`, `/mnt/current`) come from the same version. And the watcher
//! must know every directory in which a change could lead the path elsewhere. Opens no file.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// As in the kernel (path_resolution(7)): more links than this in one path are a loop.
const MAX_LINKS: usize = 40;

/// Where a path leads, and where to look for changes of that.
#[derive(Debug)]
pub(super) struct Trail {
    /// The path without any symlink in it, or why the walk stopped.
    pub(super) file: Result<PathBuf, Stop>,
    /// The parent of every link on the way and of the file; if something is missing, the nearest
    /// directory that exists.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// The place at which a walk stopped, and why.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) at: PathBuf,
    pub(super) error: io::Error,
}

/// What lies at a path, as far as a walk cares.
#[derive(Debug, Clone)]
enum Entry {
    Link(PathBuf),
    Directory,
    Leaf,
}

/// The entries seen during one read. Each is looked up once, so that all walks through one value
/// agree about every link; make a new value to see changes.
#[derive(Debug, Default)]
pub(super) struct Links {
    seen: HashMap<PathBuf, Entry>,
}

impl Links {
    /// Follows `path`, which must be absolute.
    pub(super) fn walk(&mut self, path: &Path) -> Trail {
        let mut directories = BTreeSet::new();
        let file = self.follow(path, &mut directories);
        Trail { file, directories }
    }

    fn follow(
        &mut self,
        path: &Path,
        directories: &mut BTreeSet<PathBuf>,
    ) -> Result<PathBuf, Stop> {
        let mut here = PathBuf::new();
        let mut rest = reversed_components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let entry = match self.entry(&next) {
                Ok(Entry::Directory) => {
                    here = next;
                    continue;
                }
                entry => entry,
            };
            directories.insert(here.clone());
            match entry {
                Ok(Entry::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Stop::new(path, Errno::LOOP.into()));
                    }
                    rest.extend(reversed_components(&target));
                }
                Ok(_) if rest.is_empty() => return Ok(next),
                Ok(_) => return Err(Stop::new(&next, Errno::NOTDIR.into())),
                Err(error) => return Err(Stop::new(&next, error)),
            }
        }
        // The path ends in a directory. That is refused later, by type; until then it may be
        // replaced by a file, which shows in its parent.
        directories.insert(here.parent().unwrap_or(&here).to_owned());
        Ok(here)
    }

    fn entry(&mut self, path: &Path) -> io::Result<Entry> {
        if let Some(entry) = self.seen.get(path) {
            return Ok(entry.clone());
        }
        let metadata = fs::symlink_metadata(path)?;
        let entry = if !metadata.is_symlink() {
            Entry::of(&metadata)
        } else if is_magic(path, &metadata) {
            Entry::of(&fs::metadata(path)?)
        } else {
            Entry::Link(fs::read_link(path)?)
        };
        self.seen.insert(path.to_owned(), entry.clone());
        Ok(entry)
    }
}

impl Entry {
    fn of(metadata: &fs::Metadata) -> Self {
        if metadata.is_dir() {
            Self::Directory
        } else {
            Self::Leaf
        }
    }
}

impl Stop {
    fn new(at: &Path, error: io::Error) -> Self {
        Self {
            at: at.to_owned(),
            error,
        }
    }
}

/// `/proc/7/root`, `/proc/self/fd/3` and the like: their text is a label, not a path in our own
/// tree, so only the kernel can follow them. A sidecar that reads its neighbour's files through
/// `/proc/<pid>/root` would otherwise silently read its own.
fn is_magic(path: &Path, metadata: &fs::Metadata) -> bool {
    let proc = Path::new("/proc");
    path.starts_with(proc)
        && path.parent() != Some(proc)
        && fs::metadata(proc).is_ok_and(|root| root.dev() == metadata.dev())
}

fn reversed_components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|component| !matches!(component, std::path::Component::CurDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn walk(path: impl AsRef<Path>) -> Trail {
        Links::default().walk(path.as_ref())
    }

    fn set<const N: usize>(paths: [PathBuf; N]) -> BTreeSet<PathBuf> {
        paths.into()
    }

    /// A directory whose own path holds no link.
    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    #[test]
    fn a_chain_of_links_names_every_directory_on_the_way() {
        let (_guard, root) = directory();
        fs::create_dir_all(root.join("app")).unwrap();
        fs::create_dir_all(root.join("mnt/2026")).unwrap();
        fs::write(root.join("mnt/2026/tls.crt"), "x").unwrap();
        symlink("2026/", root.join("mnt/current")).unwrap();
        symlink(root.join("mnt/current/tls.crt"), root.join("app/tls.crt")).unwrap();
        let trail = walk(root.join("app/./../app/tls.crt"));
        assert_eq!(trail.file.unwrap(), root.join("mnt/2026/tls.crt"));
        assert_eq!(
            trail.directories,
            set([root.join("app"), root.join("mnt"), root.join("mnt/2026")])
        );
    }

    #[test]
    fn what_is_missing_is_awaited_in_the_nearest_directory() {
        let (_guard, root) = directory();
        let trail = walk(root.join("not/yet/tls.crt"));
        let stop = trail.file.unwrap_err();
        assert_eq!(stop.at, root.join("not"));
        assert_eq!(stop.error.kind(), io::ErrorKind::NotFound);
        assert_eq!(trail.directories, set([root.clone()]));

        symlink(root.join("gone/tls.crt"), root.join("dangling")).unwrap();
        let trail = walk(root.join("dangling"));
        assert_eq!(trail.file.unwrap_err().at, root.join("gone"));
        assert_eq!(trail.directories, set([root]));
    }

    #[test]
    fn a_loop_ends() {
        let (_guard, root) = directory();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let stop = walk(root.join("a")).file.unwrap_err();
        assert_eq!(Errno::from_io_error(&stop.error), Some(Errno::LOOP));
    }

    #[test]
    fn a_file_is_no_directory() {
        let (_guard, root) = directory();
        fs::write(root.join("file"), "x").unwrap();
        let stop = walk(root.join("file/tls.crt")).file.unwrap_err();
        assert_eq!(stop.error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn one_value_sees_a_link_once() {
        let (_guard, root) = directory();
        for version in ["1", "2"] {
            fs::create_dir(root.join(version)).unwrap();
            for file in ["tls.crt", "tls.key"] {
                fs::write(root.join(version).join(file), version).unwrap();
            }
        }
        symlink("1", root.join("..data")).unwrap();
        let mut links = Links::default();
        let certificate = links.walk(&root.join("..data/tls.crt")).file.unwrap();
        fs::remove_file(root.join("..data")).unwrap();
        symlink("2", root.join("..data")).unwrap();
        let key = links.walk(&root.join("..data/tls.key")).file.unwrap();
        assert_eq!(certificate.parent(), key.parent());
        assert_eq!(
            walk(root.join("..data/tls.key")).file.unwrap(),
            root.join("2/tls.key")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn links_of_the_kernel_are_left_to_the_kernel() {
        let (_guard, root) = directory();
        let file = root.join("tls.crt");
        fs::write(&file, "x").unwrap();
        let through = Path::new("/proc/self/root").join(file.strip_prefix("/").unwrap());
        let own = format!("/proc/{}/root", std::process::id());
        let trail = walk(&through);
        assert_eq!(
            trail.file.unwrap(),
            Path::new(&own).join(file.strip_prefix("/").unwrap())
        );
        let open = fs::File::open(&file).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
        let trail = walk(format!("/proc/self/fd/{descriptor}"));
        assert!(trail.file.unwrap().starts_with("/proc"));
    }
}
