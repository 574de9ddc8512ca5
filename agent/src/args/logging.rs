//! The flags that say how the log looks.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Log (standard error)")]
pub(crate) struct LogArgs {
    /// For people or for machines
    #[arg(
        long,
        env = "NATS_MTLS_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,
    /// A level (off, error, warn, info, debug, trace) for our own words, or a filter such as
    /// `info,async_nats=debug` for everybody's [default: info; warn for check; off for wait on a terminal]
    #[arg(
        long,
        env = "NATS_MTLS_LOG_LEVEL",
        hide_env_values = true,
        value_name = "FILTER"
    )]
    pub(crate) log_level: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}
