//! What `plan` needs.

use nats_mtls::StartupBudget;

use super::{ConfigError, values};
use crate::args::PlanArgs;
use crate::plan::Fleet;

/// Checked input of the arithmetic.
#[derive(Debug)]
pub(crate) struct PlanConfig {
    pub(crate) fleet: Fleet,
    pub(crate) startup: StartupBudget,
    pub(crate) json: bool,
}

impl PlanConfig {
    pub(crate) fn new(args: &PlanArgs) -> Result<Self, ConfigError> {
        let rotation = &args.rotation;
        let startup = &args.startup;
        Ok(Self {
            fleet: Fleet {
                pods: rotation.pods,
                max_unavailable: rotation.max_unavailable,
                reconnect_wait: values::duration("--reconnect-wait", &rotation.reconnect_wait)?,
                handshake_timeout: values::positive_duration(
                    "--handshake-timeout",
                    &rotation.handshake_timeout,
                )?,
            },
            startup: StartupBudget {
                connect_timeout: values::positive_duration(
                    "--connect-timeout",
                    &startup.connect_timeout,
                )?,
                servers: startup.servers,
                passes: startup.passes,
                margin: values::duration("--margin", &startup.margin)?,
            },
            json: args.json,
        })
    }
}
