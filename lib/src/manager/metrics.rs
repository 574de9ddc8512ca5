//! The task that emits metrics. What they are is decided in `report`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::status::StatusShared;
use crate::reload::ReloadReport;
use crate::report::metrics;

/// The time a connection is up is counted in whole seconds.
const AT_REST: Duration = Duration::from_secs(1);
/// A burst of changes is one emission.
const AT_MOST: Duration = Duration::from_millis(20);

/// Emits with each change and once a second, until the reload task has ended.
pub(super) async fn keep_up_to_date(
    status: Arc<StatusShared>,
    mut reports: watch::Receiver<ReloadReport>,
) {
    metrics::describe();
    loop {
        status.emit_metrics();
        sleep(AT_MOST).await;
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return status.emit_metrics();
                }
            }
            () = status.registry.journal().changed() => {}
            () = sleep(AT_REST) => {}
        }
    }
}
