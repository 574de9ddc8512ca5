//! The flags of `wait`: those of `run` that say what to wait for and for how long.

use clap::Args;

use super::{AuthenticationArgs, ConnectionArgs, LogArgs, MaterialArgs, StartupArgs};

pub(super) const AFTER_WAIT: &str = "\
Waits until the files hold a valid set and a server accepts it, with a full NATS handshake, or until
the startup budget is spent. Without --server it waits for a valid set only. Nothing is left behind:
the connection is drained. On a terminal one line says how it goes; --log-level or --log-format json
asks for a log instead.

Examples:
  nats-mtls-agent wait --cert tls.crt --key tls.key --ca ca.crt --server tls://a:4222,tls://b:4222
  nats-mtls-agent wait --cert bundle.pem --ca ca.crt --startup-budget 2m    # files only

Exit codes: 0 ready, 1 no valid set, NATS refused it, or SIGTERM, 2 wrong usage, 3 the set is valid
but no server could be reached.";

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) material: MaterialArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    #[command(flatten)]
    pub(crate) startup: StartupArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}
