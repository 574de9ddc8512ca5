//! What `status` needs: where the agent is.

use super::{ConfigError, HttpUrl};
use crate::args::StatusArgs;

/// Whom to ask, and how to print the answer.
#[derive(Debug)]
pub(crate) struct StatusConfig {
    pub(crate) url: HttpUrl,
    pub(crate) json: bool,
}

impl StatusConfig {
    pub(crate) fn new(args: &StatusArgs) -> Result<Self, ConfigError> {
        let flag = "--url (NATS_MTLS_URL)";
        Ok(Self {
            url: HttpUrl::parse(flag, &args.url, "--url http://127.0.0.1:9464")?,
            json: args.json,
        })
    }
}
