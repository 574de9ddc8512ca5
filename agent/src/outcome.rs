//! How a command ended, as an exit code. The numbers are a contract.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::ConfigError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Accepted, or ended as asked.
    Done,
    /// Refused, or failed while running.
    Failed,
    /// A flag or a variable is missing, malformed or contradicts another.
    WrongUsage,
    /// No NATS server answered, or no agent.
    NotReachable,
}

impl Outcome {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUsage => 2,
            Self::NotReachable => 3,
        }
    }

    /// Says what is wrong with the usage; the log may not have been started yet.
    pub(crate) fn wrong_usage(error: &ConfigError) -> Self {
        say(&format_args!("error: {error}\n\nFor more, try --help."));
        Self::WrongUsage
    }

    /// Says that this machine does not let us work.
    pub(crate) fn broken(what: &str, error: &dyn Display) -> Self {
        say(&format_args!("error: {what}: {error}"));
        Self::Failed
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.code())
    }
}

/// Nobody is left to tell if standard error is closed.
pub(crate) fn say(text: &dyn Display) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Drives a command on one thread: what there is to do is little, and a second thread would cost
/// memory for nothing. Blocking threads, for files and DNS, come and
/// go.
pub(crate) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build();
    match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(command);
            // A file system that hangs must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Outcome::broken("cannot start the runtime", &error),
    }
}
