//! `--publish-dir`: keeps the active set in a directory that other processes read, the way kubelet
//! keeps a mounted secret. What is written comes from what was validated, never from the source
//! files. After a restart with bad source files it is what the agent starts from.
//!
//! `layout`, `contents`, `schedule` and `writer` decide and know no file system; `directory` and `task`
//! are the shell around them.

mod contents;
mod directory;
mod error;
mod kept;
mod layout;
mod report;
mod schedule;
mod storage;
mod task;
#[cfg(test)]
mod tests;
mod writer;

use nats_mtls::StatusHandle;
use tokio::sync::watch;

pub(crate) use kept::Kept;
pub(crate) use report::{PublishReport, PublishStatus};

use crate::config::PublishConfig;
use crate::duties::Duties;
use crate::notify::Notifier;

/// Starts to publish, and hands `notifier` each set that readers see. The report says at any time
/// what that is.
pub(crate) fn start(
    config: PublishConfig,
    status: StatusHandle,
    notifier: Notifier,
    duties: &mut Duties,
) -> watch::Receiver<PublishReport> {
    let (report, reader) = watch::channel(PublishReport::new(&config.directory));
    let task = task::Task::new(config, status, report, notifier);
    duties.spawn("publish", task.run());
    reader
}
