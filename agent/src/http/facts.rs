//! Everything the answers are made of: the library's status, and what the agent does for others
//! beside it.

use nats_mtls::StatusHandle;
use nats_mtls::report::Status;
use serde::Serialize;
use tokio::sync::watch;

use super::answers::why_not_ready;
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

/// In place of a reason of the library, if that is ready.
const NOT_PUBLISHED: &str = "not_published";

impl Facts {
    /// Why the start is not over, in a word and in a sentence. The library was ready once, and
    /// whoever reads the publish directory found a set there; later ups and downs are no new start.
    pub(crate) fn why_not_started(&self) -> Option<(&'static str, String)> {
        let health = self.status.health();
        if !health.started
            && let Some(reason) = health.not_ready
        {
            let words = why_not_ready(reason, &self.status.status());
            return Some((reason.as_str(), words));
        }
        let why_never = self.publish.as_ref()?.borrow().why_never()?;
        Some((NOT_PUBLISHED, why_never))
    }

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
