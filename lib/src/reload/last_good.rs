//! The set to start from when the source has nothing acceptable: what somebody kept of an earlier
//! life of this process. Looked at only while nothing was ever active; judged like any other.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use crate::material::Rejection;
use crate::source::{RawMaterial, ReadError, Source};

/// See the module documentation.
pub(super) struct LastGood {
    source: Box<dyn Source>,
    told: Option<Rejection>,
}

impl LastGood {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self { source, told: None }
    }

    pub(super) async fn read(&mut self, limit: Duration) -> Result<RawMaterial, ReadError> {
        let read = timeout(limit, self.source.read()).await;
        read.unwrap_or_else(|_| Err(ReadError::late(limit)))
    }

    /// It is of no use either. Asked at each poll, said once for each reason.
    pub(super) fn refuse(&mut self, rejection: Rejection) {
        let is_known = |told: &Rejection| told.reason == rejection.reason;
        if self.told.as_ref().is_some_and(is_known) {
            return;
        }
        warn!(
            reason = rejection.reason.as_str(),
            detail = rejection.detail,
            "no last good set to start from either"
        );
        self.told = Some(rejection);
    }
}
