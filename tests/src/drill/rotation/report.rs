//! What is known at the end of a drill, and the JSON document that says it. What people see is in
//! `picture`.

use std::fmt;

use serde::{Serialize, Serializer};

use super::plan::Plan;
use super::view::Laggard;

/// The whole of it. Keys are stable, more may be added.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `rotation`
    pub drill: &'static str,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is new, and the old root is gone.
    Passed,
    /// It stopped on purpose, before something broke.
    Halted,
    /// It went through, and yet the old root is trusted somewhere or a connection is missing.
    Failed,
}

/// One change of the whole fleet or of all nodes.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// For people.
    pub name: &'static str,
    /// `clients` or `servers`.
    pub side: &'static str,
    /// How many waves, or nodes, it has.
    pub steps: usize,
    /// Those that were confirmed.
    pub waves: Vec<Wave>,
}

/// A part of a stage that was confirmed as a whole.
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct OldRoot {
    /// Nodes that let in a client with a certificate of the old CA; tried.
    pub trusted_by_nodes: usize,
    /// Instances whose active material holds it.
    pub trusted_by_instances: usize,
    /// Instances that did not answer.
    pub silent_instances: usize,
}

/// One instance.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Its name, on the nodes too.
    pub name: String,
    /// `agent` or `service`.
    pub kind: &'static str,
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
    /// As in the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Halted => "halted",
            Self::Failed => "failed",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Stage {
    pub(super) fn new(name: &'static str, side: &'static str, steps: usize) -> Self {
        Self {
            name,
            side,
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

impl Report {
    /// Judged by what is true now, not by how it came to be.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let old = &self.old_root;
        let nobody = old.trusted_by_nodes + old.trusted_by_instances + old.silent_instances == 0;
        let all_new = self.fleet.iter().all(|member| member.is_of_new_ca);
        match &self.halted {
            Some(_) => Verdict::Halted,
            None if nobody && all_new => Verdict::Passed,
            None => Verdict::Failed,
        }
    }

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

    /// One JSON document.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Document<'a> {
            verdict: Verdict,
            line: String,
            #[serde(flatten)]
            report: &'a Report,
        }
        serde_json::to_string_pretty(&Document {
            verdict: self.verdict(),
            line: self.line(),
            report: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(old_root: OldRoot, is_of_new_ca: bool) -> Report {
        let plan = r#"{"pods":1,"max_unavailable":1,"cycle_seconds":4,"wave_window_seconds":8,
            "waves":1,"total_seconds":8}"#;
        Report {
            drill: "rotation",
            plan: serde_json::from_str(plan).unwrap(),
            seconds: 1.0,
            stages: Vec::new(),
            halted: None,
            old_root,
            fleet: vec![Member {
                name: "agent-1".to_owned(),
                kind: "agent",
                wave: 1,
                node: Some(1),
                fingerprint_sha256: None,
                is_of_new_ca,
            }],
        }
    }

    #[test]
    fn going_through_is_not_enough_to_pass() {
        let gone = OldRoot::default();
        assert_eq!(report(gone, true).verdict(), Verdict::Passed);
        assert_eq!(report(gone, false).verdict(), Verdict::Failed);
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
            let report = report(left, true);
            assert_eq!(report.verdict(), Verdict::Failed, "{left:?}");
            assert!(report.line().starts_with("FAILED "), "{}", report.line());
        }
    }
}
