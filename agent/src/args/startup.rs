//! The flags that say how long a start may take.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Start")]
pub(crate) struct StartupArgs {
    /// While there is no valid material or no server accepts it: fail at once, retry until the
    /// budget is spent, or retry for ever [default: forever for run, retry for wait]
    #[arg(
        long,
        env = "NATS_MTLS_STARTUP",
        hide_env_values = true,
        value_name = "POLICY"
    )]
    pub(crate) startup: Option<StartupArg>,
    /// The budget of `--startup retry` [default: connect timeout x servers x passes + margin]
    #[arg(
        long,
        env = "NATS_MTLS_STARTUP_BUDGET",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) startup_budget: Option<String>,
    /// How often each server is tried within the computed budget, which is also how long a client of
    /// the relay waits for NATS
    #[arg(
        long,
        env = "NATS_MTLS_STARTUP_PASSES",
        hide_env_values = true,
        value_name = "COUNT",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(crate) startup_passes: u32,
    /// What the computed budget adds for pauses, DNS and files
    #[arg(
        long,
        env = "NATS_MTLS_STARTUP_MARGIN",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "15s"
    )]
    pub(crate) startup_margin: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartupArg {
    FailFast,
    Retry,
    Forever,
}
