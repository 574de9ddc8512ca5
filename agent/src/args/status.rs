//! The flags of `status` alone.

use clap::Args;

pub(super) const AFTER_STATUS: &str = "\
Three truths that are told apart:
  disk     what the files hold
  active   what is published: every new connection uses it
  wire     what live connections presented when they were made

Examples:
  nats-mtls-agent status
  nats-mtls-agent status --url http://10.0.0.7:9464 --json
  kubectl exec orders-0 -c nats-mtls-agent -- nats-mtls-agent status

Exit codes: 0 ready, 1 not ready, 2 wrong usage, 3 no agent answers there.";

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Where the agent serves HTTP: its --http
    #[arg(
        long,
        env = "NATS_MTLS_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9464"
    )]
    pub(crate) url: String,
    /// Print the agent's JSON document as it comes
    #[arg(long)]
    pub(crate) json: bool,
}
