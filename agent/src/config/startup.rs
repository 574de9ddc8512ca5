//! How long a start may take: the policy, and the budget it is computed from.

use std::time::Duration;

use nats_mtls::{StartupBudget, StartupPolicy};

use super::{ConfigError, Upstream, values};
use crate::args::{StartupArg, StartupArgs};

/// How long the start may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Startup {
    pub(crate) policy: StartupPolicy,
    /// What the budget is, or would be, computed from.
    pub(crate) budget: StartupBudget,
}

impl Startup {
    pub(super) fn new(
        args: &StartupArgs,
        default: StartupArg,
        upstream: Option<&Upstream>,
    ) -> Result<Self, ConfigError> {
        let margin = values::duration("--startup-margin", &args.startup_margin)?;
        let budget = StartupBudget {
            connect_timeout: upstream.map_or(Duration::ZERO, Upstream::connect_timeout),
            servers: upstream.map_or(0, Upstream::server_count),
            passes: args.startup_passes,
            margin,
        };
        let given = args.startup_budget.as_deref();
        let given = given
            .map(|text| values::positive_duration("--startup-budget", text))
            .transpose()?;
        let policy = match (args.startup.unwrap_or(default), given) {
            (StartupArg::Retry, given) => {
                StartupPolicy::RetryFor(given.unwrap_or_else(|| budget.total()))
            }
            (_, Some(_)) => {
                return Err(ConfigError::new(
                    "--startup-budget (NATS_MTLS_STARTUP_BUDGET)",
                    "only `--startup retry` spends a budget",
                    "--startup retry --startup-budget 2m",
                ));
            }
            (StartupArg::FailFast, None) => StartupPolicy::FailFast,
            (StartupArg::Forever, None) => StartupPolicy::RetryForever,
        };
        Ok(Self { policy, budget })
    }

    /// When it gives up; none for never, and for a single try.
    pub(crate) const fn limit(&self) -> Option<Duration> {
        match self.policy {
            StartupPolicy::RetryFor(budget) => Some(budget),
            _ => None,
        }
    }
}
