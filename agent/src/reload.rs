//! SIGHUP: read the files now, and say what came of it.

use std::convert::Infallible;

use nats_mtls::{ReloadOutcome, StatusHandle};
use tokio::signal::unix::Signal;
use tracing::{info, warn};

use crate::service_manager::ServiceManager;

pub(crate) async fn reload_on(
    mut hangups: Signal,
    status: StatusHandle,
    manager: ServiceManager,
) -> Infallible {
    loop {
        if hangups.recv().await.is_none() {
            return std::future::pending().await;
        }
        info!("SIGHUP: reload");
        manager.reloading();
        let outcome = status.reload().await;
        manager.reloaded();
        match outcome {
            Ok(ReloadOutcome::Published(generation)) => {
                info!(%generation, "reload: published");
            }
            Ok(ReloadOutcome::Unchanged) => info!("reload: unchanged"),
            Ok(ReloadOutcome::Rejected(rejection)) => warn!(
                reason = %rejection.reason,
                detail = rejection.detail,
                advice = rejection.reason.advice(),
                "reload: rejected"
            ),
            Ok(ReloadOutcome::Pending { detail }) => {
                warn!(detail, "reload: pending, asked again by itself");
            }
            Ok(other) => info!(outcome = ?other, "reload"),
            Err(error) => warn!(%error, "reload: not possible"),
        }
    }
}
