//! What `wait` needs.

use nats_mtls::{Files, Policy};

use super::{ConfigError, Startup, Upstream, files, policy, refuse_server_usage};
use crate::args::{StartupArg, WaitArgs};

/// What to wait for, and for how long.
#[derive(Debug)]
pub(crate) struct WaitConfig {
    pub(crate) files: Files,
    pub(crate) policy: Policy,
    /// None: valid files are enough.
    pub(crate) upstream: Option<Upstream>,
    pub(crate) startup: Startup,
}

impl WaitConfig {
    pub(crate) fn new(args: &WaitArgs) -> Result<Self, ConfigError> {
        let upstream = Upstream::new(&args.connection, &args.authentication)?;
        refuse_server_usage(&args.material, upstream.as_ref())?;
        Ok(Self {
            files: files(&args.material)?,
            policy: policy(&args.material)?,
            startup: Startup::new(&args.startup, StartupArg::Retry, upstream.as_ref())?,
            upstream,
        })
    }
}
