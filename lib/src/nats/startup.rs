//! What to do while nothing works yet: fail, try until a budget is spent, or try for ever.

use std::fmt;
use std::time::Duration;

use crate::nats::failure::Failure;

/// The choice a service makes about its start. It covers missing material and missing servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartupPolicy {
    /// One try; the first failure is the answer.
    FailFast,
    /// Try until this much time has passed: a hard deadline around everything, DNS included.
    RetryFor(Duration),
    /// Never give up.
    RetryForever,
}

impl StartupPolicy {
    /// The time after which to give up; none for never.
    pub(crate) const fn budget(self) -> Option<Duration> {
        match self {
            Self::FailFast | Self::RetryForever => None,
            Self::RetryFor(budget) => Some(budget),
        }
    }
}

/// How long a start may take before it is called failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartupBudget {
    /// For one attempt at one server.
    pub connect_timeout: Duration,
    /// How many servers are configured.
    pub servers: u32,
    /// How often each of them is tried.
    pub passes: u32,
    /// For pauses between the passes, and DNS.
    pub margin: Duration,
}

impl StartupBudget {
    /// `connect_timeout * servers * passes + margin`, for example 10 s * 3 * 3 + 15 s = 105 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// let budget = nats_mtls::StartupBudget {
    ///     connect_timeout: Duration::from_secs(10),
    ///     servers: 3,
    ///     passes: 3,
    ///     margin: Duration::from_secs(15),
    /// };
    /// assert_eq!(budget.total(), Duration::from_secs(105));
    /// ```
    #[must_use]
    pub fn total(&self) -> Duration {
        self.connect_timeout
            .saturating_mul(self.servers)
            .saturating_mul(self.passes)
            .saturating_add(self.margin)
    }
}

/// The arithmetic, as people read it: `10s x 3 servers x 3 passes + 15s = 105s`.
impl fmt::Display for StartupBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        match self.servers {
            0 => write!(f, "no server + {:?} = {total:?}", self.margin),
            servers => write!(
                f,
                "{:?} x {servers} server{} x {} pass{} + {:?} = {total:?}",
                self.connect_timeout,
                if servers == 1 { "" } else { "s" },
                self.passes,
                if self.passes == 1 { "" } else { "es" },
                self.margin
            ),
        }
    }
}

/// A word about a server that nobody asked: nothing is known of it.
const NOT_TRIED: &str = "not tried, no time was left for it";

/// What became of one server during the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAttempts {
    /// `host:port`.
    pub server: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed; none if the time was over before the first one ended, or began.
    pub last_failure: Option<Failure>,
}

impl fmt::Display for ServerAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts == 0 {
            return write!(f, "{}: {NOT_TRIED}", self.server);
        }
        let plural = if self.attempts == 1 { "" } else { "s" };
        write!(f, "{} ({} attempt{plural}): ", self.server, self.attempts)?;
        match &self.last_failure {
            Some(failure) => failure.fmt(f),
            None => f.write_str("no answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_shows_its_arithmetic() {
        let budget = |servers, passes| StartupBudget {
            connect_timeout: Duration::from_millis(2_500),
            servers,
            passes,
            margin: Duration::from_secs(15),
        };
        let cases = [
            (budget(3, 2), "2.5s x 3 servers x 2 passes + 15s = 30s"),
            (budget(1, 1), "2.5s x 1 server x 1 pass + 15s = 17.5s"),
            (budget(0, 3), "no server + 15s = 15s"),
        ];
        for (budget, text) in cases {
            assert_eq!(budget.to_string(), text);
        }
    }

    #[test]
    fn a_server_that_was_never_tried_is_not_said_to_be_silent() {
        let refused = Failure::unavailable("connection refused");
        let cases = [
            (0, None, "a:4222: not tried, no time was left for it"),
            (1, None, "a:4222 (1 attempt): no answer in time"),
            (2, Some(refused), "a:4222 (2 attempts): connection refused"),
        ];
        for (attempts, last_failure, text) in cases {
            let server = "a:4222".to_owned();
            let attempts = ServerAttempts {
                server,
                attempts,
                last_failure,
            };
            assert_eq!(attempts.to_string(), text);
        }
    }
}
