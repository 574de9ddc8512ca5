//! What the agent's probes answered. No I/O.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One look at the three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// Status of `/startupz`.
    pub startupz: u16,
    /// Status of `/readyz`.
    pub readyz: u16,
    /// Status of `/livez`.
    pub livez: u16,
}

impl Probes {
    /// Whether traffic would be sent.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        self.startupz == 200 && self.readyz == 200
    }
}

impl fmt::Display for Probes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "startupz {}, readyz {}, livez {}",
            self.startupz, self.readyz, self.livez
        )
    }
}

/// Every status that the agent's probes answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAnswers {
    /// How many times all three were asked and answered.
    pub looks: u32,
    /// `/startupz` while NATS was away.
    pub startupz_away: BTreeSet<u16>,
    /// `/readyz` while NATS was away.
    pub readyz_away: BTreeSet<u16>,
    /// `/startupz` once the agent had recovered.
    pub startupz_recovered: BTreeSet<u16>,
    /// `/readyz` once the agent had recovered.
    pub readyz_recovered: BTreeSet<u16>,
    /// `/livez` all along.
    pub livez: BTreeSet<u16>,
}

impl ProbeAnswers {
    pub(super) fn away(&mut self, answers: Probes) {
        self.looks += 1;
        self.startupz_away.insert(answers.startupz);
        self.readyz_away.insert(answers.readyz);
        self.livez.insert(answers.livez);
    }

    /// Until the agent is ready, both answers are right; afterwards only one.
    pub(super) fn back(&mut self, answers: Probes, was_ready: bool) {
        self.looks += 1;
        self.livez.insert(answers.livez);
        if was_ready {
            self.startupz_recovered.insert(answers.startupz);
            self.readyz_recovered.insert(answers.readyz);
        }
    }
}
