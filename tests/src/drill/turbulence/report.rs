//! What the turbulence drill saw, and what of it is not as it should be. No I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CHURN, LAG};
use crate::drill::Report;

/// Alerts that may fire beside the two: less time is available than the objective wants. In a
/// shortened world they fire too easily, because the seconds that they count stay as long as ever.
const OBJECTIVE: [&str; 2] = [
    "NatsMtlsAvailabilityBurnFast",
    "NatsMtlsAvailabilityBurnSlow",
];

/// What became of one alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertSeen {
    /// Seconds from the beginning of what it is about.
    pub fired_after_seconds: Option<f64>,
    /// Seconds from the end of what it is about.
    pub cleared_after_seconds: Option<f64>,
}

impl AlertSeen {
    pub(super) fn fired(&mut self, after: Duration) {
        self.fired_after_seconds = Some(after.as_secs_f64());
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurbulenceReport {
    /// Every time in the rules was divided by this.
    pub factor: u32,
    /// How often nats-server was stopped.
    pub restarts: u32,
    /// How often the agent says that it was disconnected.
    pub disconnects: f64,
    /// How often the agent says that it was connected again.
    pub reconnects: f64,
    /// The alert about reconnects.
    pub churn: AlertSeen,
    /// The alert about an outage.
    pub lag: AlertSeen,
    /// What fired before anything was done.
    pub fired_in_baseline: BTreeSet<String>,
    /// What fired at all.
    pub fired: BTreeSet<String>,
}

impl TurbulenceReport {
    pub(super) fn new(factor: u32) -> Self {
        Self {
            factor,
            restarts: 0,
            disconnects: 0.0,
            reconnects: 0.0,
            churn: AlertSeen::default(),
            lag: AlertSeen::default(),
            fired_in_baseline: BTreeSet::new(),
            fired: BTreeSet::new(),
        }
    }
}

impl Report for TurbulenceReport {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let is_known = |name: &str| OBJECTIVE.contains(&name);
        for name in self.fired_in_baseline.iter().filter(|name| !is_known(name)) {
            problems.push(format!("{name} fired before anything was done"));
        }
        for (name, alert) in [(CHURN, &self.churn), (LAG, &self.lag)] {
            match (alert.fired_after_seconds, alert.cleared_after_seconds) {
                (None, _) => problems.push(format!("{name} did not fire")),
                (Some(_), None) => problems.push(format!("{name} did not clear")),
                (Some(_), Some(_)) => {}
            }
        }
        for name in &self.fired {
            if !is_known(name) && ![CHURN, LAG].contains(&name.as_str()) {
                problems.push(format!("{name} fired, and nothing was done for it"));
            }
        }
        let stops = f64::from(self.restarts);
        for (what, count) in [
            ("disconnects", self.disconnects),
            ("reconnects", self.reconnects),
        ] {
            if (count - stops).abs() > 0.0 {
                problems.push(format!(
                    "nats-server was stopped {stops} times, the agent counts {count} {what}"
                ));
            }
        }
        problems
    }

    fn summary(&self) -> String {
        let time = |seconds: Option<f64>| format!("{:.1} s", seconds.unwrap_or(f64::NAN));
        format!(
            "nats-server was stopped {} times, the agent counted every one; {CHURN} fired after {} and cleared after {}; {LAG} fired after {} and cleared after {}; times of the rules divided by {}",
            self.restarts,
            time(self.churn.fired_after_seconds),
            time(self.churn.cleared_after_seconds),
            time(self.lag.fired_after_seconds),
            time(self.lag.cleared_after_seconds),
            self.factor,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> TurbulenceReport {
        let seen = AlertSeen {
            fired_after_seconds: Some(20.0),
            cleared_after_seconds: Some(5.0),
        };
        TurbulenceReport {
            restarts: 20,
            disconnects: 20.0,
            reconnects: 20.0,
            churn: seen.clone(),
            lag: seen,
            fired: [CHURN, LAG, OBJECTIVE[0]].map(str::to_owned).into(),
            ..TurbulenceReport::new(60)
        }
    }

    #[test]
    fn a_good_one_has_no_problem() {
        let problems = good().problems();
        assert!(problems.is_empty(), "{problems:?}");
        assert!(
            good()
                .summary()
                .contains("fired after 20.0 s and cleared after 5.0 s")
        );
    }

    #[test]
    fn whatever_goes_wrong_is_named() {
        type Damage = fn(&mut TurbulenceReport);
        let table: [(Damage, &str); 6] = [
            (
                |report| report.churn = AlertSeen::default(),
                "NatsMtlsReconnectChurn did not fire",
            ),
            (
                |report| report.lag.cleared_after_seconds = None,
                "NatsMtlsReconnectsLag did not clear",
            ),
            (
                |report| {
                    report.fired_in_baseline.insert(LAG.into());
                },
                "NatsMtlsReconnectsLag fired before",
            ),
            (
                |report| {
                    report.fired.insert("NatsMtlsTargetDown".into());
                },
                "NatsMtlsTargetDown fired, and",
            ),
            (
                |report| report.disconnects = 19.0,
                "nats-server was stopped 20 times, the agent counts 19 disc",
            ),
            (
                |report| report.reconnects = 21.0,
                "nats-server was stopped 20 times, the agent counts 21 reco",
            ),
        ];
        for (damage, expected) in table {
            let mut report = good();
            damage(&mut report);
            let problems = report.problems();
            assert!(
                problems.len() == 1 && problems.iter().all(|problem| problem.starts_with(expected)),
                "{expected}: {problems:?}"
            );
        }
    }
}
