//! What is remembered of the process that was found last. It was looked at thoroughly then, and need
//! not be again: the clock may have been set since, so that its start cannot be compared with the
//! time of the pid file any more.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::process::Process;

/// Cheap to clone; all clones remember the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Option<Process>>>);

/// How a process relates to the one that was found last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is that one. It may run another program by now: a wrapper that became the server.
    Same,
    /// None was found yet, or it ran the same program: a restart.
    Plausible,
    /// That one ran this program.
    OtherProgram(String),
}

impl Memory {
    pub(super) fn relation(&self, process: &Process) -> Relation {
        match &*self.lock() {
            Some(last) if last.is_same_as(process) => Relation::Same,
            Some(last) if last.executable != process.executable => {
                Relation::OtherProgram(last.executable.clone())
            }
            _ => Relation::Plausible,
        }
    }

    /// Whether the last one ran a program of this name, rather than being called so.
    pub(super) fn runs(&self, name: &str) -> bool {
        let last = self.lock();
        last.as_ref().is_some_and(|last| last.executable == name)
    }

    /// To be called only once there is no doubt about it.
    pub(super) fn remember(&self, process: &Process) {
        *self.lock() = Some(process.clone());
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
