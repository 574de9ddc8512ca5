//! The flags that say which servers there are and who the client is, besides its certificate.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Args)]
#[command(next_help_heading = "NATS servers")]
pub(crate) struct ConnectionArgs {
    /// NATS server; repeat it or give a comma-separated list
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// Start TLS before INFO, for servers with `handshake_first`
    #[arg(
        long,
        env = "NATS_TLS_FIRST",
        hide_env_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) tls_first: bool,
    /// Name that the server's certificate must carry [default: the hosts of the URLs]
    #[arg(
        long,
        env = "NATS_TLS_NAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) tls_name: Vec<String>,
    /// For one attempt at one server: TCP, TLS and NATS handshake together
    #[arg(
        long,
        env = "NATS_MTLS_CONNECT_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "5s"
    )]
    pub(crate) connect_timeout: String,
    /// Name of the connection: the client's name on the server, `component` in log and status
    #[arg(
        long,
        env = "NATS_MTLS_COMPONENT",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "nats-mtls-agent"
    )]
    pub(crate) component: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication beside the certificate (at most one)")]
pub(crate) struct AuthenticationArgs {
    /// NATS credentials file (JWT and seed)
    #[arg(
        long,
        env = "NATS_MTLS_CREDS",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) creds: Option<PathBuf>,
    /// File that holds an nkey seed
    #[arg(
        long,
        env = "NATS_MTLS_NKEY_SEED_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) nkey_seed_file: Option<PathBuf>,
    /// User name; needs --password-file
    #[arg(
        long,
        env = "NATS_MTLS_USER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) user: Option<String>,
    /// File that holds the password of --user
    #[arg(
        long,
        env = "NATS_MTLS_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// File that holds a token
    #[arg(
        long,
        env = "NATS_MTLS_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
}
