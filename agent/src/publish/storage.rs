//! What publishing needs of a file system, so that a test can put one in its place that fails.

use std::io;
use std::path::Path;

use super::contents::File;
use super::layout::{Entry, SetName};

/// One publish directory. Names are names in it; nothing here follows a link in it.
pub(super) trait Storage {
    fn entries(&self) -> io::Result<Vec<Entry>>;

    /// Whether a set holds exactly this file: the bytes, who may read it, and a plain file.
    fn holds(&self, set: &SetName, file: &File) -> io::Result<bool>;

    /// Fails if it is there already.
    fn make_set(&self, set: &SetName) -> io::Result<()>;

    /// Makes a file of its final mode and group, on the disk when this returns.
    fn write(&self, set: &SetName, file: &File) -> Result<(), WriteError>;

    /// Opens the finished set to readers, on the disk when this returns.
    fn seal(&self, set: &SetName) -> io::Result<()>;

    fn link(&self, target: &Path, name: &str) -> io::Result<()>;

    /// Replaces `to` in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// The names in the directory itself.
    fn flush(&self) -> io::Result<()>;

    fn remove_link(&self, name: &str) -> io::Result<()>;

    fn entries_of(&self, set: &SetName) -> io::Result<Vec<Entry>>;

    fn remove_file(&self, set: &SetName, name: &str) -> io::Result<()>;

    /// Fails if something is left in it.
    fn remove_set(&self, set: &SetName) -> io::Result<()>;
}

/// Two different things for whoever has to repair it.
#[derive(Debug)]
pub(super) enum WriteError {
    Write(io::Error),
    Group(io::Error),
}
