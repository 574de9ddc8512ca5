//! The flags that say whom to tell about a rotation, and how to confirm that it took.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Args)]
#[command(next_help_heading = "Notify after validation")]
pub(crate) struct NotifyArgs {
    /// Send this signal to one process: HUP, USR1, USR2, WINCH, INT, QUIT or TERM
    #[arg(
        long,
        env = "NATS_MTLS_ON_ROTATE_SIGNAL",
        hide_env_values = true,
        value_name = "SIGNAL"
    )]
    pub(crate) on_rotate_signal: Option<String>,
    /// The process is the one whose id this file holds; it must have started before the file was
    /// written, and run as the same user as the agent
    #[arg(
        long,
        env = "NATS_MTLS_PID_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) pid_file: Option<PathBuf>,
    /// The process is the only one of this user that runs this program, for example nats-server; if
    /// none does, the only one that is called so, for example after a script or a link (python3)
    #[arg(
        long,
        env = "NATS_MTLS_PROCESS_NAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) process_name: Option<String>,
    /// Run this program, without a shell: words are split as in sh, with quotes and backslashes,
    /// and nothing is expanded. Its environment says what is new, see below
    #[arg(
        long,
        env = "NATS_MTLS_ON_ROTATE_EXEC",
        hide_env_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) on_rotate_exec: Option<String>,
    /// POST a small JSON document to this URL: http on loopback, https with --cert and --ca
    #[arg(
        long,
        env = "NATS_MTLS_ON_ROTATE_HTTP",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) on_rotate_http: Option<String>,
    /// How long a hook may take; then it has failed, and a program is ended with all it started
    #[arg(
        long,
        env = "NATS_MTLS_ON_ROTATE_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub(crate) on_rotate_timeout: String,
    /// Tell about the first set after each start, too, whether or not it was told before
    #[arg(
        long,
        env = "NATS_MTLS_ON_ROTATE_FIRST",
        hide_env_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) on_rotate_first: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Confirm that it took")]
pub(crate) struct ConfirmArgs {
    /// Monitoring of nats-server, to ask which certificate a connection presents; repeat it or give a
    /// comma-separated list, one of each server that the connection may be at. Looks at the agent's
    /// own connection, with --confirm-name at those of a service; with --usage server it is asked where
    /// that server listens, to make a TLS handshake with it
    #[arg(
        long,
        env = "NATS_MTLS_CONFIRM_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) confirm_url: Vec<String>,
    /// Look at the service that was told: every connection that gives this name in its CONNECT has to
    /// present the new certificate, and there has to be one. All connections of each server are read, 1024
    /// at a time, 64,000 at most, within a minute
    #[arg(
        long,
        env = "NATS_MTLS_CONFIRM_NAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) confirm_name: Option<String>,
    /// Make a TLS handshake with this nats-server, whose own certificate this is, and compare
    #[arg(
        long,
        env = "NATS_MTLS_CONFIRM_SERVER",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    pub(crate) confirm_server: Option<String>,
    /// How long it may take until the new certificate is seen; asked again and again until then
    #[arg(
        long,
        env = "NATS_MTLS_CONFIRM_WITHIN",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "30s"
    )]
    pub(crate) confirm_within: String,
}
