//! The flags of `run` alone: renewal and the process.

use clap::{Args, ValueEnum};

use super::{
    AuthenticationArgs, ConfirmArgs, ConnectionArgs, IdentityChangeArg, LogArgs, MaterialArgs,
    NotifyArgs, PublishArgs, RelayArgs, StartupArgs,
};

pub(super) const AFTER_RUN: &str = "\
Signals:
  SIGHUP            read and judge the files now; the outcome is logged
  SIGTERM, SIGINT   not ready, drain relay and connection, exit 0; a second one ends at once

Hooks (--on-rotate-…) run after a set was validated and, with --publish-dir, published; one run at
a time for each, the newest set only, again after a failure for as long as it takes (pauses of 1 s
to 1 min). With --publish-dir it is remembered which set every hook was told of
(..nats_mtls_told): what a crash or a restart kept from them is told by the next start, perhaps
twice, never not at all. Without it nothing is remembered: the first set after a start is told
only with --on-rotate-first, so give that if a restart may come between a renewal and its hook and
being told once more does no harm. A rollback is told only with --publish-dir.
  --on-rotate-exec gets NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA (paths), NATS_MTLS_GENERATION,
  NATS_MTLS_FINGERPRINT_SHA256, NATS_MTLS_NOT_AFTER, PATH, HOME and a few more; no other variable of
  the agent. What it leaves running is ended with it, also in other process groups and sessions: a
  program cannot start a service, only ask whoever looks after that (systemctl, an init) to do so.
  --on-rotate-http POSTs {\"event\": \"rotated\", \"generation\", \"fingerprint_sha256\", \"not_after\",
  \"files\": {\"cert\", \"key\", \"ca\"}} and expects 2xx.

HTTP (read-only):
  /livez /readyz /startupz   200 or 503, and one line saying why; with --publish-dir /startupz waits
                             until a set was published
  /status                    everything that is known, as JSON
  /metrics                   the same and what happened, for Prometheus

Publish directory, laid out as kubelet lays out a secret; follow ..data, or read tls-combined.pem:
  ..data -> ..nats_mtls_TIME, and tls.crt tls.key ca.crt tls-combined.pem (ca.crl with --crl) -> ..data/
  ..nats_mtls_told -> the set that every hook was told of; with none, the first set there was
  keys by --publish-mode, the rest readable by everyone; other files there are never touched

Examples:
  nats-mtls-agent run --cert tls.crt --key tls.key --ca ca.crt --server tls://nats:4222
  nats-mtls-agent run --cert bundle.pem --ca ca.crt    # key in the bundle; watches, connects to nobody
  nats-mtls-agent run --cert tls.crt --key tls.key --ca ca.crt --publish-dir /run/nats-tls
  nats-mtls-agent run --cert tls.crt --key tls.key --ca ca.crt --server tls://nats:4222 \\
    --listen 127.0.0.1:4222                            # any client: NATS_URL=nats://127.0.0.1:4222
  nats-mtls-agent run --usage server --cert tls.crt --key tls.key --ca ca.crt --publish-dir /run/nats-tls \\
    --on-rotate-signal HUP --pid-file /run/nats/nats.pid --confirm-url http://127.0.0.1:8222
  NATS_TLS_CERT=/tls/tls.crt NATS_TLS_KEY=/tls/tls.key NATS_TLS_CA=/tls/ca.crt \\
    NATS_URL=tls://a:4222,tls://b:4222 nats-mtls-agent run --log-format json

Exit codes: 0 after SIGTERM or SIGINT, 1 failed while running, 2 wrong usage, 3 no server reachable
before the startup policy gave up.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) material: MaterialArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    #[command(flatten)]
    pub(crate) relay: RelayArgs,
    #[command(flatten)]
    pub(crate) rotation: RotationArgs,
    #[command(flatten)]
    pub(crate) publish: PublishArgs,
    #[command(flatten)]
    pub(crate) notify: NotifyArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) startup: StartupArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
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
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// Where probes, status and metrics are served, or `off`
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
    /// How long the end may take after SIGTERM [default: 25s with --listen, else 2s]
    #[arg(
        long,
        env = "NATS_MTLS_DRAIN_TIMEOUT",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub(crate) drain_timeout: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}
