//! The ways certificate files change in the wild.
//!
//! * [`KubernetesVolume`]: kubelet's `..data` symlink, all files at once.
//! * [`PlainFiles::rename_over`]: a careful writer, file by file.
//! * [`PlainFiles::write_in_place`]: truncate and write, file by file (spiffe-helper, `cp`).
//! * [`PlainFiles::write`] of one part, then of another: a certificate first, its key later.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use tempfile::TempDir;

use crate::pki::Identity;

/// The three files of a set, by the names that Kubernetes gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `tls.crt`
    Certificate,
    /// `tls.key`
    Key,
    /// `ca.crt`
    Roots,
}

impl Part {
    /// In the order in which careless writers write them.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Key, Self::Roots];

    /// The name of the file.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Certificate => "tls.crt",
            Self::Key => "tls.key",
            Self::Roots => "ca.crt",
        }
    }
}

/// What the three files hold. Any text: bad material is material for tests.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// The chain, leaf first.
    pub certificate: String,
    /// The key.
    pub key: String,
    /// The roots.
    pub roots: String,
}

impl Contents {
    /// A good set.
    #[must_use]
    pub fn new(identity: &Identity, roots_pem: &str) -> Self {
        Self {
            certificate: identity.chain_pem().to_owned(),
            key: identity.key_pem().to_owned(),
            roots: roots_pem.to_owned(),
        }
    }

    /// The text of one part.
    #[must_use]
    pub fn part(&self, part: Part) -> &str {
        match part {
            Part::Certificate => &self.certificate,
            Part::Key => &self.key,
            Part::Roots => &self.roots,
        }
    }
}

/// A secret mounted by kubelet: `tls.crt -> ..data/tls.crt`, `..data -> ..<time>`.
#[derive(Debug)]
pub struct KubernetesVolume {
    directory: TempDir,
    revision: u32,
}

impl KubernetesVolume {
    /// Mounts a volume with its first contents.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn new(contents: &Contents) -> Result<Self> {
        let mut volume = Self {
            directory: tempfile::tempdir()?,
            revision: 0,
        };
        volume.update(contents)?;
        for part in Part::ALL {
            let target = Path::new("..data").join(part.file_name());
            symlink(target, volume.path(part))?;
        }
        Ok(volume)
    }

    /// Where the volume is mounted.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path that a program is configured with.
    #[must_use]
    pub fn path(&self, part: Part) -> PathBuf {
        self.directory().join(part.file_name())
    }

    /// Replaces the whole set as kubelet's atomic writer does: new directory, new symlink renamed
    /// onto `..data`, old directory removed.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn update(&mut self, contents: &Contents) -> Result<()> {
        self.replace(contents).map(|_| ())
    }

    /// As [`Self::update`]; returns the moment just before the `rename(2)` that makes it so.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn replace(&mut self, contents: &Contents) -> Result<Instant> {
        self.revision += 1;
        let root = self.directory.path();
        let data = root.join("..data");
        let old = fs::read_link(&data).ok();
        let new = format!("..2026_01_01_00_00_00.{:09}", self.revision);
        fs::create_dir(root.join(&new))?;
        for part in Part::ALL {
            fs::write(root.join(&new).join(part.file_name()), contents.part(part))?;
        }
        let temporary = root.join("..data_tmp");
        symlink(&new, &temporary)?;
        let renamed = Instant::now();
        fs::rename(&temporary, &data)?;
        if let Some(old) = old {
            fs::remove_dir_all(root.join(old))?;
        }
        Ok(renamed)
    }
}

/// Ordinary files in one directory.
#[derive(Debug)]
pub struct PlainFiles {
    directory: TempDir,
}

impl PlainFiles {
    /// Writes the first contents.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn new(contents: &Contents) -> Result<Self> {
        let files = Self::empty()?;
        files.write_in_place(contents)?;
        Ok(files)
    }

    /// A directory without files, for "missing at start".
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn empty() -> Result<Self> {
        Ok(Self {
            directory: tempfile::tempdir()?,
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of one file.
    #[must_use]
    pub fn path(&self, part: Part) -> PathBuf {
        self.directory().join(part.file_name())
    }

    /// Writes each part beside its file and renames it over: each file is whole at any time, the
    /// set is not.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn rename_over(&self, contents: &Contents) -> Result<()> {
        for part in Part::ALL {
            let temporary = self.directory().join(format!(".{}.new", part.file_name()));
            fs::write(&temporary, contents.part(part))?;
            fs::rename(temporary, self.path(part))?;
        }
        Ok(())
    }

    /// Truncates and writes file by file: for a moment a file is empty, and the set torn.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_in_place(&self, contents: &Contents) -> Result<()> {
        for part in Part::ALL {
            self.write(part, contents.part(part))?;
        }
        Ok(())
    }

    /// Truncates and writes one file, flushed to the file system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, part: Part, text: &str) -> Result<()> {
        let mut file = File::create(self.path(part))?;
        file.write_all(text.as_bytes())?;
        Ok(file.sync_all()?)
    }

    /// Removes one file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, part: Part) -> Result<()> {
        Ok(fs::remove_file(self.path(part))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(revision: u32) -> Contents {
        Contents {
            certificate: format!("certificate {revision}"),
            key: format!("key {revision}"),
            roots: format!("roots {revision}"),
        }
    }

    #[test]
    fn a_volume_update_shows_the_new_set_and_leaves_one_data_directory() -> Result<()> {
        let mut volume = KubernetesVolume::new(&contents(1))?;
        volume.update(&contents(2))?;
        for part in Part::ALL {
            assert_eq!(
                fs::read_to_string(volume.path(part))?,
                contents(2).part(part)
            );
        }
        let directories = fs::read_dir(volume.directory())?
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .count();
        assert_eq!(directories, 1);
        Ok(())
    }

    #[test]
    fn both_plain_writers_leave_only_the_new_set() -> Result<()> {
        let files = PlainFiles::new(&contents(1))?;
        files.rename_over(&contents(2))?;
        assert_eq!(fs::read_to_string(files.path(Part::Key))?, "key 2");
        files.write_in_place(&contents(3))?;
        assert_eq!(fs::read_to_string(files.path(Part::Roots))?, "roots 3");
        assert_eq!(fs::read_dir(files.directory())?.count(), 3);
        Ok(())
    }
}
