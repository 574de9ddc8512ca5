//! The flags that say where the validated set is published for other processes.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Publish for other processes")]
pub(crate) struct PublishArgs {
    /// Directory to keep the active set in: tls.crt, tls.key, ca.crt and tls-combined.pem (key, then
    /// chain), swapped all at once as kubelet does. It must exist and belong to this agent alone.
    /// After a restart with bad source files the set in it is used until they are good
    #[arg(
        long,
        env = "NATS_MTLS_PUBLISH_DIR",
        hide_env_values = true,
        value_name = "DIRECTORY"
    )]
    pub(crate) publish_dir: Option<PathBuf>,
    /// Mode of the files that hold the key: 0400, 0440, 0600 or 0640. The others may be read by
    /// everyone [default: 0600, with --publish-group 0640]
    #[arg(
        long,
        env = "NATS_MTLS_PUBLISH_MODE",
        hide_env_values = true,
        value_name = "OCTAL"
    )]
    pub(crate) publish_mode: Option<String>,
    /// Group of the files that hold the key, by name or number [default: as the directory has it]
    #[arg(
        long,
        env = "NATS_MTLS_PUBLISH_GROUP",
        hide_env_values = true,
        value_name = "GROUP"
    )]
    pub(crate) publish_group: Option<String>,
}
