//! What an earlier life of the agent published, as a set to start from.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nats_mtls::source::{
    PartKind, RawMaterial, ReadError, ReadErrorCause, Source, SourceFuture, WatcherMode,
};

use super::layout::{DATA, SetName};
use crate::config::PublishConfig;

/// Reads the current set of a publish directory, if it is of our own making.
pub(crate) struct Kept {
    config: PublishConfig,
}

impl Kept {
    pub(crate) fn new(config: &PublishConfig) -> Self {
        Self {
            config: config.clone(),
        }
    }

    async fn read_set(&self) -> Result<RawMaterial, ReadError> {
        let data = self.config.directory.join(DATA);
        let failed = |problem| ReadError {
            part: PartKind::Certificate,
            origin: data.display().to_string(),
            cause: ReadErrorCause::Io(problem),
        };
        let config = self.config.clone();
        let found = tokio::task::spawn_blocking(move || find(&config)).await;
        let set = found.map_err(|_| failed("reading was cut off".to_owned()))?;
        let files = self.config.files_in(&set.map_err(failed)?);
        files.into_source().read().await
    }
}

/// The directory of the current set. The CA in it is going to be trusted, so it must be one that
/// nobody else can have written.
fn find(config: &PublishConfig) -> Result<PathBuf, String> {
    let data = config.directory.join(DATA);
    let target = match fs::read_link(data) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("nothing was published there yet".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    let Some(name) = SetName::parse(target.as_os_str()) else {
        return Err(format!(
            "leads to {}, which this agent did not make",
            target.display()
        ));
    };
    let set = config.directory.join(name.as_str());
    let metadata = fs::symlink_metadata(&set).map_err(|error| error.to_string())?;
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        Err("leads to something that is no directory".to_owned())
    } else if metadata.uid() != user {
        Err(format!(
            "leads to a set of user {}, and this agent is user {user}",
            metadata.uid()
        ))
    } else if metadata.mode() & 0o002 != 0 {
        Err("leads to a set that everyone may write into".to_owned())
    } else {
        Ok(set)
    }
}

impl Source for Kept {
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>> {
        Box::pin(self.read_set())
    }

    fn changed(&mut self) -> SourceFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn watcher_mode(&self) -> WatcherMode {
        WatcherMode::Poll
    }
}
