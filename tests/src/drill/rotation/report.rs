//! What is known at the end of a drill. What people see of it is in `picture`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NODES;
use super::plan::Plan;
use super::view::Laggard;
use crate::drill::Report;

/// The whole of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RotationReport {
    /// How it ended.
    pub verdict: Verdict,
    /// The arithmetic that the drill kept to.
    pub plan: Plan,
    /// From the first wave to the last answer.
    pub seconds: f64,
    /// In their order; the last one may be incomplete.
    pub stages: Vec<Stage>,
    /// Where and why it did not go on.
    pub halted: Option<Halted>,
    /// Who trusts the old root now.
    pub old_root: OldRoot,
    /// The instances, as the nodes show them now.
    pub fleet: Vec<Member>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything is new, and the old root is gone.
    Passed,
    /// It stopped on purpose, before something broke.
    Halted,
    /// It went through, and yet the old root is trusted somewhere or a connection is missing.
    Failed,
}

/// One change of the whole fleet or of all nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// For people.
    pub name: String,
    /// `clients` or `servers`.
    pub side: String,
    /// How many waves, or nodes, it has.
    pub steps: usize,
    /// Those that were confirmed.
    pub waves: Vec<Wave>,
}

/// A part of a stage that was confirmed as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wave {
    /// Counted from 1.
    pub number: usize,
    /// How many the stage has.
    pub of: usize,
    /// Who was changed.
    pub members: Vec<String>,
    /// From the first file written to the last confirmation.
    pub milliseconds: u64,
}

/// Where and why the drill did not go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Halted {
    /// The name of the stage.
    pub stage: String,
    /// The wave, or node, that was not confirmed, counted from 1.
    pub wave: usize,
    /// How many the stage has.
    pub of: usize,
    /// Who kept it from going on.
    pub laggards: Vec<Laggard>,
}

/// Who trusts the root that is to go.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct OldRoot {
    /// Nodes that let in a client with a certificate of the old CA; tried.
    pub trusted_by_nodes: usize,
    /// Instances whose active material holds it.
    pub trusted_by_instances: usize,
    /// Instances that did not answer.
    pub silent_instances: usize,
}

/// One instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// Its name, on the nodes too.
    pub name: String,
    /// `agent` or `service`.
    pub kind: String,
    /// Counted from 1.
    pub wave: usize,
    /// Where it is connected, counted from 1.
    pub node: Option<usize>,
    /// What that node shows.
    pub fingerprint_sha256: Option<String>,
    /// Whether the new CA issued that.
    pub is_of_new_ca: bool,
}

impl Verdict {
    /// Judged by what is true now, not by how it came to be.
    pub(super) fn of(halted: Option<&Halted>, old: &OldRoot, fleet: &[Member]) -> Self {
        let trusted = old.trusted_by_nodes + old.trusted_by_instances + old.silent_instances;
        let all_new = fleet.iter().all(|member| member.is_of_new_ca);
        match halted {
            Some(_) => Self::Halted,
            None if trusted == 0 && all_new => Self::Passed,
            None => Self::Failed,
        }
    }
}

impl Stage {
    pub(super) fn new(name: &str, side: &str, steps: usize) -> Self {
        Self {
            name: name.to_owned(),
            side: side.to_owned(),
            steps,
            waves: Vec::new(),
        }
    }
}

impl fmt::Display for Halted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} of {}: ", self.stage, self.wave, self.of)?;
        let laggards: Vec<_> = self.laggards.iter().map(Laggard::to_string).collect();
        f.write_str(&laggards.join("; "))
    }
}

impl std::error::Error for Halted {}

impl Report for RotationReport {
    fn problems(&self) -> Vec<String> {
        match (self.verdict, &self.halted) {
            (Verdict::Passed, _) => Vec::new(),
            (_, Some(halted)) => vec![format!("halted at {halted}"), self.state()],
            (_, None) => vec![format!("not halted, and yet {}", self.state())],
        }
    }

    fn summary(&self) -> String {
        format!(
            "leaf and CA of {} instances, {} waves for each change, slowest wave {} ms of {} s; {}",
            self.fleet.len(),
            self.plan.waves,
            self.slowest(),
            self.plan.wave_window_seconds,
            self.state()
        )
    }
}

impl RotationReport {
    /// The slowest wave of clients, in milliseconds.
    #[must_use]
    pub fn slowest(&self) -> u64 {
        self.stages
            .iter()
            .filter(|stage| stage.side == "clients")
            .flat_map(|stage| &stage.waves)
            .map(|wave| wave.milliseconds)
            .max()
            .unwrap_or_default()
    }

    /// Who trusts the old root, and who is connected, in one line.
    fn state(&self) -> String {
        let (pods, old) = (self.fleet.len(), &self.old_root);
        let connected = self.fleet.iter().filter(|one| one.node.is_some()).count();
        let silent = match old.silent_instances {
            0 => String::new(),
            count => format!(" ({count} did not answer)"),
        };
        format!(
            "the old root is trusted by {} of {NODES} nodes and {} of {pods} instances{silent}; {connected} of {pods} connected",
            old.trusted_by_nodes, old.trusted_by_instances
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_through_is_not_enough_to_pass() {
        let member = |is_of_new_ca| Member {
            name: "agent-1".to_owned(),
            kind: "agent".to_owned(),
            wave: 1,
            node: Some(1),
            fingerprint_sha256: None,
            is_of_new_ca,
        };
        let gone = OldRoot::default();
        assert_eq!(Verdict::of(None, &gone, &[member(true)]), Verdict::Passed);
        assert_eq!(Verdict::of(None, &gone, &[member(false)]), Verdict::Failed);
        for left in [
            OldRoot {
                trusted_by_nodes: 1,
                ..gone
            },
            OldRoot {
                trusted_by_instances: 1,
                ..gone
            },
            OldRoot {
                silent_instances: 1,
                ..gone
            },
        ] {
            let verdict = Verdict::of(None, &left, &[member(true)]);
            assert_eq!(verdict, Verdict::Failed, "{left:?}");
        }
    }
}
