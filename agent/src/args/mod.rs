//! Flags and environment as they were written: the command line's shape and its help.
//!
//! Owns names, defaults and help texts. Must not judge values or read files: that is `config`.

mod connection;
mod logging;
mod material;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use connection::{AuthenticationArgs, ConnectionArgs};
pub(crate) use logging::{LogArgs, LogFormat};
pub(crate) use material::{IdentityChangeArg, MaterialArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0  done: accepted, or ended after a SIGTERM
  1  refused, or failed while running
  2  wrong usage: a flag or a variable is missing, malformed or contradicts another
  3  no NATS server could be reached";

const AFTER_RUN: &str = "\
Signals:
  SIGHUP            read and judge the files now; the outcome is logged
  SIGTERM, SIGINT   not ready, drain the connection, exit 0; a second one ends at once

HTTP (read-only):
  /livez /readyz /startupz   200 or 503, and one line saying why
  /status                    everything that is known, as JSON

Examples:
  nats-mtls-agent run --cert tls.crt --key tls.key --ca ca.crt --server tls://nats:4222
  nats-mtls-agent run --cert bundle.pem --ca ca.crt    # key in the bundle; watches, connects to nobody
  NATS_TLS_CERT=/tls/tls.crt NATS_TLS_KEY=/tls/tls.key NATS_TLS_CA=/tls/ca.crt \\
    NATS_URL=tls://a:4222,tls://b:4222 nats-mtls-agent run --log-format json

Exit codes: 0 after SIGTERM or SIGINT, 1 failed while running, 2 wrong usage, 3 no server reachable
before the startup policy gave up.";

const AFTER_CHECK: &str = "\
Examples:
  nats-mtls-agent check --cert tls.crt --key tls.key --ca ca.crt
  nats-mtls-agent check --cert tls.crt --key tls.key --ca ca.crt --server tls://nats:4222
  nats-mtls-agent check --cert tls.crt --key tls.key --ca ca.crt --min-validity 7d --json

Exit codes: 0 accepted, 1 refused or valid for less than --min-validity, 2 wrong usage, 3 the files
are good but no server could be reached.";

/// Keeps the NATS TLS identity of any process fresh: watches certificate, key and CA files,
/// validates every new set before it is used, and says what is true about it.
#[derive(Debug, Parser)]
#[command(name = "nats-mtls-agent", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the files, keep a NATS connection on what is valid, answer probes over HTTP
    #[command(after_help = AFTER_RUN)]
    Run(Box<RunArgs>),
    /// Judge the files once and say what is right and wrong with them; with --server, ask NATS too
    #[command(after_help = AFTER_CHECK)]
    Check(Box<CheckArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) material: MaterialArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    #[command(flatten)]
    pub(crate) rotation: RotationArgs,
    #[command(flatten)]
    pub(crate) startup: StartupArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) material: MaterialArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    #[command(flatten)]
    pub(crate) verdict: VerdictArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Verdict")]
pub(crate) struct VerdictArgs {
    /// Refuse a chain that is valid for less than this, for example 7d
    #[arg(
        long,
        env = "NATS_MTLS_MIN_VALIDITY",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) min_validity: Option<String>,
    /// Print one JSON document instead of the picture
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Renewal")]
pub(crate) struct RotationArgs {
    /// Read the files this often even if no change is noticed
    #[arg(
        long,
        env = "NATS_MTLS_POLL_INTERVAL",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) poll_interval: String,
    /// How long a set may look half-written before it is called rejected
    #[arg(
        long,
        env = "NATS_MTLS_SETTLE",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(crate) settle: String,
    /// Longest random delay between a change and its use, so that a fleet does not move as one
    #[arg(
        long,
        env = "NATS_MTLS_SPREAD",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "1s"
    )]
    pub(crate) spread: String,
    /// Ask the servers before new material is used; off without --server
    #[arg(
        long,
        env = "NATS_MTLS_PREFLIGHT",
        hide_env_values = true,
        value_name = "WHETHER",
        default_value = "on"
    )]
    pub(crate) preflight: Switch,
    /// When the names that NATS maps to a user change: accept, accept with a warning, or reject
    #[arg(
        long,
        env = "NATS_MTLS_IDENTITY_CHANGE",
        hide_env_values = true,
        value_name = "POLICY",
        default_value = "warn"
    )]
    pub(crate) identity_change: IdentityChangeArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Start")]
pub(crate) struct StartupArgs {
    /// While there is no valid material or no server accepts it: fail at once, retry until the
    /// budget is spent, or retry for ever
    #[arg(
        long,
        env = "NATS_MTLS_STARTUP",
        hide_env_values = true,
        value_name = "POLICY",
        default_value = "forever"
    )]
    pub(crate) startup: StartupArg,
    /// The budget of `--startup retry` [default: connect timeout x servers x passes + margin]
    #[arg(
        long,
        env = "NATS_MTLS_STARTUP_BUDGET",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) startup_budget: Option<String>,
    /// How often each server is tried within the computed budget
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

#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// Where probes and status are served, or `off`
    #[arg(
        long,
        env = "NATS_MTLS_HTTP",
        hide_env_values = true,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9464"
    )]
    pub(crate) http: String,
    /// Between two PINGs to the server; a dead connection is noticed on the third
    #[arg(
        long,
        env = "NATS_MTLS_PING_INTERVAL",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "20s"
    )]
    pub(crate) ping_interval: String,
    /// How long the end may take after SIGTERM
    #[arg(
        long,
        env = "NATS_MTLS_DRAIN_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "2s"
    )]
    pub(crate) drain_timeout: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartupArg {
    FailFast,
    Retry,
    Forever,
}
