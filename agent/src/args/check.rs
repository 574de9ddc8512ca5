//! The flags of `check` alone.

use clap::Args;

use super::{AuthenticationArgs, ConnectionArgs, LogArgs, MaterialArgs};

pub(super) const AFTER_CHECK: &str = "\
Examples:
  nats-mtls-agent check --cert tls.crt --key tls.key --ca ca.crt
  nats-mtls-agent check --cert tls.crt --key tls.key --ca ca.crt --server tls://nats:4222
  nats-mtls-agent check --cert tls.crt --key tls.key --ca ca.crt --min-validity 7d --json

Exit codes: 0 accepted, 1 refused or valid for less than --min-validity, 2 wrong usage, 3 the files
are good but no server could be reached.";

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
