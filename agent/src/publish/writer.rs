//! The order of things: at every moment, whoever follows `..data` finds the previous set or the next
//! one, whole and on the disk. Knows no file system, only [`Storage`].

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::contents::Contents;
use super::error::{Action, PublishError};
use super::layout::{DATA, DATA_TMP, Entry, FILE_NAMES, Kind, SetName, Survey, TOLD, target_of};
use super::storage::{Storage, WriteError};
use crate::notify::Known;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) published: Published,
    /// What the other processes know of it.
    pub(super) known: Known,
}

/// Whether anything was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// Readers see a new set.
    New,
    /// They saw this very set already.
    Unchanged,
}

/// Writes sets into one directory.
pub(super) struct Writer<S> {
    storage: S,
    /// For messages.
    path: PathBuf,
    /// What readers saw before the current set: somebody may still be reading it.
    former: Option<SetName>,
    /// Old sets with files of others in them, said once.
    told: BTreeSet<SetName>,
    /// Somebody may hold a set, though none may be left of it here.
    has_readers: bool,
}

impl<S: Storage> Writer<S> {
    pub(super) fn new(storage: S, path: PathBuf) -> Self {
        Self {
            storage,
            path,
            former: None,
            told: BTreeSet::new(),
            has_readers: false,
        }
    }

    pub(super) fn storage(&self) -> &S {
        &self.storage
    }

    /// This process published before, perhaps in a directory that was in the place of this one: what
    /// comes is not the first set, however empty it is here.
    pub(super) fn expect_readers(&mut self) {
        self.has_readers = true;
    }

    /// Makes `contents` what readers see. If that fails they see what they saw before, and what was
    /// written so far is taken away again.
    pub(super) fn publish(
        &mut self,
        contents: &Contents,
        name: &SetName,
    ) -> Result<Publication, PublishError> {
        let survey = self.survey()?;
        self.tidy_if_possible();
        if let Some(current) = &survey.current
            && self.is_same(current, contents)
        {
            self.make_links(contents, &survey)?;
            self.flush()?;
            let is_told = survey.told.as_ref() == Some(current);
            return Ok(Publication {
                published: Published::Unchanged,
                known: if is_told { Known::Told } else { Known::Untold },
            });
        }
        let is_first = survey.is_before_the_first() && !self.has_readers;
        self.former = survey.current;
        let written = self.write(contents, name, is_first);
        self.tidy_if_possible();
        written.map(|()| Publication {
            published: Published::New,
            known: if is_first {
                Known::First
            } else {
                Known::Untold
            },
        })
    }

    /// Remembers, also for a next life, that the others were told of the current set.
    pub(super) fn record_told(&self) -> Result<(), PublishError> {
        let survey = self.survey()?;
        let Some(current) = survey.current else {
            return Ok(());
        };
        if survey.told.as_ref() == Some(&current) {
            return Ok(());
        }
        if survey.leftover.is_some() {
            self.remove_link(DATA_TMP)?;
        }
        self.record(&current)
    }

    /// Not flushed: after a power failure they are told once more.
    fn record(&self, set: &SetName) -> Result<(), PublishError> {
        self.link(Path::new(set.as_str()), DATA_TMP)?;
        let renamed = self.storage.rename(DATA_TMP, TOLD);
        renamed.map_err(self.failed(TOLD, Action::Swap))
    }

    /// Removes the set before the current one too, now that its last readers are done.
    pub(super) fn forget_former(&mut self) -> Result<(), PublishError> {
        self.former = None;
        self.tidy()
    }

    /// Files of others that are not in the way.
    pub(super) fn bystanders(&self) -> Result<Vec<String>, PublishError> {
        let survey = self.survey()?;
        let names = survey.bystanders.iter();
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    /// What is left over does no harm to readers, and is tried again with the next set.
    pub(super) fn tidy_if_possible(&mut self) {
        if let Err(error) = self.tidy() {
            warn!(%error, "a leftover stays in the publish directory");
        }
    }

    /// Removes what is ours and what nobody needs, and nothing else. What readers see is asked anew:
    /// a rename that was reported as failed may have happened.
    fn tidy(&mut self) -> Result<(), PublishError> {
        let survey = self.survey()?;
        // Before the link that shows what it is.
        if survey.is_told_too_early() {
            self.remove_link(TOLD)?;
        }
        if survey.leftover.is_some() {
            self.remove_link(DATA_TMP)?;
        }
        let superfluous = survey.superfluous(self.former.as_ref());
        if !superfluous.is_empty() {
            // A power failure must not bring back the link to a set that is gone. Who renamed the
            // link may have died before the flush.
            self.flush()?;
        }
        // One that cannot be removed is no reason to keep the others.
        let mut removed = Ok(());
        for set in superfluous {
            removed = removed.and(self.remove(&set));
        }
        self.remove_idle_links(&survey)?;
        removed
    }

    /// Links of ours that lead nowhere.
    fn remove_idle_links(&self, survey: &Survey) -> Result<(), PublishError> {
        let entries = match &survey.current {
            Some(current) => self.entries_of(current)?,
            None => Vec::new(),
        };
        let is_idle = |link: &&&str| entries.iter().all(|entry| entry.name != **link);
        let mut idle = survey.links.iter().filter(is_idle);
        idle.try_for_each(|link| self.remove_link(link))
    }

    fn survey(&self) -> Result<Survey, PublishError> {
        let entries = self.storage.entries();
        let entries = entries.map_err(self.failed("", Action::List))?;
        Survey::of(entries).map_err(|foreign| PublishError::Foreign {
            path: self.path.join(foreign.name),
            found: foreign.found,
        })
    }

    /// What cannot be read, because it is another user's or the disk is bad, is written anew.
    fn is_same(&self, current: &SetName, contents: &Contents) -> bool {
        let has_as_many = |entries: Vec<_>| entries.len() == contents.files().len();
        let holds = |file| self.storage.holds(current, file).unwrap_or(false);
        let entries = self.storage.entries_of(current);
        entries.is_ok_and(has_as_many) && contents.files().iter().all(holds)
    }

    fn write(
        &self,
        contents: &Contents,
        name: &SetName,
        is_first: bool,
    ) -> Result<(), PublishError> {
        // Errors speak of the names that people know: that of the set is another at each attempt.
        let made = self.storage.make_set(name);
        made.map_err(self.failed("", Action::Make))?;
        for file in contents.files() {
            self.storage.write(name, file).map_err(|error| {
                let (action, cause) = match error {
                    WriteError::Write(cause) => (Action::Write, cause),
                    WriteError::Group(cause) => (Action::GiveToGroup, cause),
                };
                self.failed(file.name, action)(cause)
            })?;
        }
        let sealed = self.storage.seal(name);
        sealed.map_err(self.failed("", Action::Flush))?;
        // Before the swap, so that all of them begin to lead somewhere at one moment.
        self.make_links(contents, &self.survey()?)?;
        self.link(Path::new(name.as_str()), DATA_TMP)?;
        if is_first {
            // Who reads there at all reads this one.
            self.link(Path::new(name.as_str()), TOLD)?;
        }
        // A link that outlives a power failure must not lead to a set that did not.
        self.flush()?;
        let swapped = self.storage.rename(DATA_TMP, DATA);
        swapped.map_err(self.failed(DATA, Action::Swap))?;
        self.flush()
    }

    fn make_links(&self, contents: &Contents, survey: &Survey) -> Result<(), PublishError> {
        let mut files = contents.files().iter().map(|file| file.name);
        files.try_for_each(|name| {
            if survey.links.contains(&name) {
                return Ok(());
            }
            self.link(&target_of(name), name)
        })
    }

    /// Takes our files out of a set, and the set if nothing else was in it.
    fn remove(&mut self, set: &SetName) -> Result<(), PublishError> {
        let mut foreign = Vec::new();
        for entry in self.entries_of(set)? {
            let ours = FILE_NAMES.into_iter().find(|name| entry.name == *name);
            match (ours, entry.kind) {
                (Some(name), Kind::File) => {
                    let at = format!("{set}/{name}");
                    let removed = self.storage.remove_file(set, name);
                    removed.map_err(self.failed(&at, Action::Remove))?;
                }
                _ => foreign.push(entry.name.to_string_lossy().into_owned()),
            }
        }
        if foreign.is_empty() {
            let removed = self.storage.remove_set(set);
            return removed.map_err(self.failed(set.as_str(), Action::Remove));
        }
        if self.told.insert(set.clone()) {
            warn!(
                directory = %self.path.join(set.as_str()).display(),
                files = foreign.join(" "),
                "an old set holds files that this agent did not make: left where they are"
            );
        }
        Ok(())
    }

    fn entries_of(&self, set: &SetName) -> Result<Vec<Entry>, PublishError> {
        let entries = self.storage.entries_of(set);
        entries.map_err(self.failed(set.as_str(), Action::List))
    }

    fn link(&self, target: &Path, name: &str) -> Result<(), PublishError> {
        let linked = self.storage.link(target, name);
        linked.map_err(self.failed(name, Action::Link))
    }

    fn remove_link(&self, name: &str) -> Result<(), PublishError> {
        let removed = self.storage.remove_link(name);
        removed.map_err(self.failed(name, Action::Remove))
    }

    fn flush(&self) -> Result<(), PublishError> {
        let flushed = self.storage.flush();
        flushed.map_err(self.failed("", Action::Flush))
    }

    /// For `map_err`; without a name it is about the directory itself.
    fn failed(&self, name: &str, action: Action) -> impl FnOnce(io::Error) -> PublishError {
        let path = match name {
            "" => self.path.clone(),
            name => self.path.join(name),
        };
        move |cause| PublishError::Io {
            path,
            action,
            cause,
        }
    }
}
