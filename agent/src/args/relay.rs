//! The flags of the relay: where clients connect, what they must say, what they may cost, and how
//! they are moved.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Defaults stand in the help texts alone: a flag without `--listen` has to be told from none.
#[derive(Debug, Args)]
#[command(next_help_heading = "Relay for clients in plain text (none without --listen)")]
pub(crate) struct RelayArgs {
    /// Where clients connect, for example 127.0.0.1:4222; needs --server
    #[arg(
        long,
        env = "NATS_MTLS_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub(crate) listen: Option<String>,
    /// Allow an address that is not loopback without local credentials: whoever reaches it acts
    /// under this agent's certificate
    #[arg(
        long,
        env = "NATS_MTLS_UNSAFE_LISTEN",
        hide_env_values = true,
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(crate) unsafe_listen: bool,
    /// User name that clients must give; needs --local-password-file; never sent to the server
    #[arg(
        long,
        env = "NATS_MTLS_LOCAL_USER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) local_user: Option<String>,
    /// File that holds the password of --local-user
    #[arg(
        long,
        env = "NATS_MTLS_LOCAL_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) local_password_file: Option<PathBuf>,
    /// File that holds a token that clients must give; never sent to the server
    #[arg(
        long,
        env = "NATS_MTLS_LOCAL_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) local_token_file: Option<PathBuf>,
    /// How clients get onto a new certificate: without noticing, or by a reconnect of their own,
    /// which they are told of (lame duck) and closed for 5s later, behind their last operation
    /// [default: handover]
    #[arg(
        long,
        env = "NATS_MTLS_ROTATION",
        hide_env_values = true,
        value_name = "MODE"
    )]
    pub(crate) rotation: Option<RotationArg>,
    /// Clients moved at the same time; each needs one spare connection on its server meanwhile
    /// [default: 8]
    #[arg(
        long,
        env = "NATS_MTLS_HANDOVERS_AT_ONCE",
        hide_env_values = true,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) handovers_at_once: Option<u32>,
    /// How long one step of a handover may take [default: 5s]
    #[arg(
        long,
        env = "NATS_MTLS_HANDOVER_STEP_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) handover_step_timeout: Option<String>,
    /// What a handover to another server waits for: three times the worst round trip of a route
    /// [default: 100ms]
    #[arg(
        long,
        env = "NATS_MTLS_ROUTE_WAIT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) route_wait: Option<String>,
    /// Clients at the same time [default: 1024]
    #[arg(
        long,
        env = "NATS_MTLS_MAX_SESSIONS",
        hide_env_values = true,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) max_sessions: Option<u32>,
    /// How long a client may take to send its CONNECT [default: 5s]
    #[arg(
        long,
        env = "NATS_MTLS_CLIENT_CONNECT_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) client_connect_timeout: Option<String>,
    /// How long a client may take nothing of what waits for it [default: 10s]
    #[arg(
        long,
        env = "NATS_MTLS_CLIENT_STALL_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) client_stall_timeout: Option<String>,
    /// How long a client may say nothing in the middle of an operation [default: 60s]
    #[arg(
        long,
        env = "NATS_MTLS_CLIENT_OPERATION_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) client_operation_timeout: Option<String>,
    /// How long a session may be silent in both directions, or `off` [default: off]
    #[arg(
        long,
        env = "NATS_MTLS_CLIENT_IDLE_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) client_idle_timeout: Option<String>,
    /// Longest control line of a client in bytes [default: 4096]
    #[arg(
        long,
        env = "NATS_MTLS_MAX_CONTROL_LINE",
        hide_env_values = true,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(512..=1024 * 1024)
    )]
    pub(crate) max_control_line: Option<u32>,
    /// What is kept for a client in each direction before the other side is not read any more, in
    /// bytes [default: 4194304]
    #[arg(
        long,
        env = "NATS_MTLS_MAX_BUFFERED",
        hide_env_values = true,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(65536..)
    )]
    pub(crate) max_buffered: Option<u32>,
    /// Subscriptions of one client [default: 16384]
    #[arg(
        long,
        env = "NATS_MTLS_MAX_SUBSCRIPTIONS",
        hide_env_values = true,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) max_subscriptions: Option<u32>,
    /// Subjects, queue names and ids of one client's subscriptions together, in bytes
    /// [default: 4194304]
    #[arg(
        long,
        env = "NATS_MTLS_MAX_INTEREST",
        hide_env_values = true,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(4096..)
    )]
    pub(crate) max_interest: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RotationArg {
    Handover,
    Reconnect,
}
