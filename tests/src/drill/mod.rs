//! Drills: something is done to a real nats-server, and whoever depends on it is watched. Run by
//! `scripts/drill-startup`, `scripts/drill-turbulence` and `scripts/drill-rotation`, and by the tests
//! of the same names.
//!
//! A drill only observes; the reports judge, without any I/O.

mod outcome;
pub mod rotation;
pub mod service;
pub mod startup;
mod supervised;
pub mod turbulence;

use std::fmt::Display;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::process::{be_loud, be_quiet};

pub use outcome::{Outcome, run};

/// Tells what happens, line by line, while a drill runs.
#[derive(Debug, Clone, Copy)]
pub struct Narrator {
    began: Instant,
    for_machines: bool,
}

impl Narrator {
    /// On standard output, or, if that is for machines, on standard error.
    #[must_use]
    pub fn new(for_machines: bool) -> Self {
        be_quiet();
        Self {
            began: Instant::now(),
            for_machines,
        }
    }

    /// One line, with the time since the beginning.
    pub fn say(&self, what: impl Display) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.show(format_args!("{seconds:>7.1}s  {what}"));
    }

    /// Something longer, as it is.
    pub fn show(&self, what: impl Display) {
        if self.for_machines {
            eprintln!("{what}");
        } else {
            println!("{what}");
        }
    }

    /// To be called while the processes of the drill still live: what they wrote is shown if the
    /// drill is not passed.
    fn show_logs_unless_passed(&self, outcome: &Result<impl Report>) {
        let passed = outcome
            .as_ref()
            .is_ok_and(|report| report.problems().is_empty());
        if !passed && !self.for_machines {
            be_loud();
        }
    }
}

/// What a drill found.
pub trait Report: Serialize {
    /// What is not as it should be; nothing if the drill is passed.
    fn problems(&self) -> Vec<String>;

    /// What was shown, in one line.
    fn summary(&self) -> String;
}
