//! What all sessions of one relay share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::backoff::Backoff;
use crate::nats::{Registration, Registry, ServerList};
use crate::relay::dial::{DialError, Dialed, Dialer, Wish};
use crate::relay::pace::Pacer;
use crate::relay::protocol::InfoRewrite;
use crate::relay::report::{Board, Meter};
use crate::relay::settings::RelaySettings;
use crate::store::Store;

/// Between two passes over the servers while a client waits.
const BETWEEN_PASSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// What all sessions of one relay share.
pub(crate) struct Shared {
    pub(crate) settings: RelaySettings,
    pub(crate) dialer: Dialer,
    pub(crate) pacer: Pacer,
    pub(crate) board: Arc<Board>,
    patience: Duration,
    /// Clients of this relay that a server accepted and that are still there.
    pub(super) accepted: Arc<AtomicUsize>,
    /// New material is shown to this relay's servers first.
    _registration: Registration,
}

impl Shared {
    pub(super) fn new(
        store: Arc<Store>,
        servers: ServerList,
        settings: RelaySettings,
        board: Arc<Board>,
        registry: &Arc<Registry>,
    ) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let live = Arc::clone(&accepted);
        Self {
            _registration: registry.register_relay(
                servers.clone(),
                settings.upstream.clone(),
                move || live.load(Relaxed) > 0,
            ),
            accepted,
            pacer: Pacer::new(&store, settings.spread, settings.handovers_at_once, &board),
            patience: settings.patience(&servers),
            dialer: Dialer::new(store, servers, settings.upstream.clone()),
            settings,
            board,
        }
    }

    /// The first upstream of a new session, up to INFO; tried as long as the patience lasts.
    ///
    /// # Errors
    /// What the last whole pass over the servers ended with. A refusal ends it at once: nothing
    /// but an outage passes by itself.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn first_upstream(&self) -> Result<Dialed, DialError> {
        let until = Instant::now() + self.patience;
        let mut last = None;
        let mut passes = 0;
        loop {
            let wish = Wish::default();
            let pass = self.dialer.open(&wish);
            let outcome = match last {
                // The first pass is made whole, however short the patience.
                None => pass.await,
                Some(error) => match timeout_at(until, pass).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(error),
                },
            };
            let error = match outcome {
                Ok(dialed) => return Ok(dialed),
                Err(error) => error,
            };
            passes += 1;
            let pause = BETWEEN_PASSES.wait(passes);
            if !error.is_outage() || Instant::now() + pause >= until {
                return Err(error);
            }
            debug!(%error, "a client waits for NATS");
            sleep(pause).await;
            last = Some(error);
        }
    }

    /// What clients are told otherwise than the server said it: that they must say the local
    /// credentials, and have nothing to sign.
    pub(crate) fn info_rewrite(&self) -> InfoRewrite {
        let local = self.settings.local.is_some();
        InfoRewrite {
            auth_required: local.then_some(true),
            drop_nonce: local,
            lame_duck: None,
        }
    }

    /// Counts the traffic of one session.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(&self.board)
    }
}
