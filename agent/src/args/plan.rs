//! The flags of `plan` alone. No environment: it answers a question, it configures nothing.

use clap::{Args, value_parser};

pub(super) const AFTER_PLAN: &str = "\
Arithmetic:
  cycle         reconnect wait + handshake timeout: one attempt that fails, until the next begins
  wave window   2 cycles: one attempt may fail, the second must succeed
  waves         pods / max unavailable, rounded up
  budget        connect timeout x servers x passes + margin: how long a start may take

Examples:
  nats-mtls-agent plan --pods 24 --max-unavailable 3
  nats-mtls-agent plan --pods 24 --max-unavailable 3 --servers 3 --connect-timeout 10s --json

Exit codes: 0 planned, 2 wrong usage.";

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) rotation: FleetArgs,
    #[command(flatten)]
    pub(crate) startup: StartArgs,
    /// Print one JSON document instead of the page
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Rotation")]
pub(crate) struct FleetArgs {
    /// How many pods hold a certificate of this kind
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pods: u32,
    /// How many of them may be without NATS at once
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_unavailable: u32,
    /// Longest wait before a reconnect is tried
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(crate) reconnect_wait: String,
    /// Longest time TCP, TLS and NATS handshake may take together
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(crate) handshake_timeout: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Start")]
pub(crate) struct StartArgs {
    /// For one attempt at one server: `--connect-timeout` of `run` and `wait`
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) connect_timeout: String,
    /// How many servers are configured
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) servers: u32,
    /// How often each of them is tried: `--startup-passes`
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) passes: u32,
    /// For pauses, DNS and files: `--startup-margin`
    #[arg(long, value_name = "DURATION", default_value = "15s")]
    pub(crate) margin: String,
}
