//! Everything the answers are made of: the library's status, and what the agent does for others
//! beside it.

use nats_mtls::StatusHandle;
use nats_mtls::report::Status;
use serde::Serialize;
use tokio::sync::watch;

use crate::publish::{PublishReport, PublishStatus};
use crate::{confirm, notify};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) status: StatusHandle,
    /// None: nothing is published for other processes.
    pub(crate) publish: Option<watch::Receiver<PublishReport>>,
    pub(crate) hooks: notify::Board,
    pub(crate) confirmed: confirm::Board,
}

impl Facts {
    /// Hands the document of `/status` to `write`.
    pub(super) fn with_document<T>(&self, write: impl FnOnce(&Document<'_>) -> T) -> T {
        let publish = self.publish.as_ref().map(|report| report.borrow().clone());
        write(&Document {
            status: self.status.status(),
            publish: publish.as_ref().map(PublishReport::status),
            notify: self.hooks.status(),
            confirm: self.confirmed.status(),
        })
    }

    pub(super) fn emit_metrics(&self) {
        self.status.emit_metrics();
        if let Some(publish) = &self.publish {
            publish.borrow().emit_metrics();
        }
        self.hooks.emit_metrics();
        self.confirmed.emit_metrics();
    }
}

/// The library's document with the agent's own keys behind it.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(flatten)]
    status: Status,
    publish: Option<PublishStatus<'a>>,
    notify: Option<notify::NotifyStatus>,
    confirm: Option<confirm::ConfirmStatus>,
}
