//! What the startup drill saw, and what of it is not as it should be. No I/O.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::probes::ProbeAnswers;
use crate::drill::Report;

/// What a service does while NATS is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Ends at the first failure.
    FailFast,
    /// Ends when the computed budget is spent.
    Retry,
    /// Never ends.
    Forever,
}

impl Policy {
    /// Its name in flags.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailFast => "fail-fast",
            Self::Retry => "retry",
            Self::Forever => "forever",
        }
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// What it is.
    pub name: String,
    /// How many times it ended and was started again.
    pub restarts: u32,
    /// Seconds from the moment when nats-server listened.
    pub recovered_after_seconds: Option<f64>,
}

impl Service {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            restarts: 0,
            recovered_after_seconds: None,
        }
    }

    pub(super) fn recovered(&self) -> Option<f64> {
        self.recovered_after_seconds
    }

    /// The line that says so, the first time.
    pub(super) fn is_up(&mut self, up: bool, after: Duration) -> Option<String> {
        if !up || self.recovered_after_seconds.is_some() {
            return None;
        }
        let seconds = after.as_secs_f64();
        self.recovered_after_seconds = Some(seconds);
        Some(format!("{} recovered after {seconds:.2} s", self.name))
    }
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// `nats-mtls-agent run`.
    pub agent: Service,
    /// The service that links the library.
    pub rust: Service,
    /// `nats-mtls-agent wait`; recovered is when it has ended well.
    pub wait: Service,
}

impl Services {
    fn all(&self) -> [&Service; 3] {
        [&self.agent, &self.rust, &self.wait]
    }

    pub(super) fn have_recovered(&self) -> bool {
        self.all()
            .iter()
            .all(|service| service.recovered().is_some())
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartupReport {
    /// The policy of agent and Rust service.
    pub policy: Policy,
    /// How long NATS was away.
    pub away_seconds: f64,
    /// Who was there.
    pub services: Services,
    /// What the agent's probes said.
    pub probes: ProbeAnswers,
}

impl StartupReport {
    pub(super) fn new(policy: Policy, away: Duration) -> Self {
        Self {
            policy,
            away_seconds: away.as_secs_f64(),
            services: Services {
                agent: Service::new("the agent"),
                rust: Service::new("the Rust service"),
                wait: Service::new("`wait`"),
            },
            probes: ProbeAnswers::default(),
        }
    }

    fn restarts(&self) -> u32 {
        self.services
            .all()
            .iter()
            .map(|service| service.restarts)
            .sum()
    }
}

impl Report for StartupReport {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for service in self.services.all() {
            if service.restarts > 0 {
                let times = service.restarts;
                problems.push(format!("{} was restarted {times} times", service.name));
            }
            if service.recovered().is_none() {
                problems.push(format!("{} did not recover", service.name));
            }
        }
        let probes = &self.probes;
        let expected = [
            (
                "startupz",
                "while NATS was away",
                &probes.startupz_away,
                503,
            ),
            ("readyz", "while NATS was away", &probes.readyz_away, 503),
            (
                "startupz",
                "after recovery",
                &probes.startupz_recovered,
                200,
            ),
            ("readyz", "after recovery", &probes.readyz_recovered, 200),
            ("livez", "all along", &probes.livez, 200),
        ];
        for (probe, when, seen, expected) in expected {
            if !seen.iter().eq([&expected]) {
                problems.push(format!(
                    "{probe} answered {seen:?} {when}, not {expected} alone"
                ));
            }
        }
        problems
    }

    fn summary(&self) -> String {
        let slowest = self
            .services
            .all()
            .into_iter()
            .filter_map(Service::recovered);
        format!(
            "NATS was away for {:.0} s; {} restarts; all recovered within {:.1} s; startupz 503, then 200; livez 200 in {} of {} looks",
            self.away_seconds,
            self.restarts(),
            slowest.fold(0.0, f64::max),
            self.probes.looks,
            self.probes.looks,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::probes::Probes;
    use super::*;

    fn good() -> StartupReport {
        let mut report = StartupReport::new(Policy::Forever, Duration::from_secs(3));
        let answers = |status| Probes {
            startupz: status,
            readyz: status,
            livez: 200,
        };
        report.probes.away(answers(503));
        report.probes.back(answers(503), false);
        report.probes.back(answers(200), true);
        let services = &mut report.services;
        for service in [&mut services.agent, &mut services.rust, &mut services.wait] {
            service.is_up(true, Duration::from_millis(700));
        }
        report
    }

    #[test]
    fn a_good_one_has_no_problem() {
        let problems = good().problems();
        assert!(problems.is_empty(), "{problems:?}");
        assert!(
            good()
                .summary()
                .contains("0 restarts; all recovered within 0.7 s")
        );
    }

    #[test]
    fn whatever_goes_wrong_is_named() {
        type Damage = fn(&mut StartupReport);
        let table: [(Damage, &str); 7] = [
            (
                |report| report.services.rust.restarts = 2,
                "the Rust service was restarted 2 times",
            ),
            (
                |report| report.services.wait.recovered_after_seconds = None,
                "`wait` did not recover",
            ),
            (
                |report| {
                    report.probes.startupz_away.insert(200);
                },
                "startupz answered {200, 503} while",
            ),
            (
                |report| report.probes.readyz_away.clear(),
                "readyz answered {} while",
            ),
            (
                |report| {
                    report.probes.readyz_recovered.insert(503);
                },
                "readyz answered {200, 503} after",
            ),
            (
                |report| report.probes.startupz_recovered.clear(),
                "startupz answered {} after",
            ),
            (
                |report| {
                    report.probes.livez.insert(503);
                },
                "livez answered {200, 503} all along",
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
