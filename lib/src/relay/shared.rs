//! What all sessions of one relay share.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::backoff::Backoff;
use crate::nats::{Registration, Registry, ServerList};
use crate::relay::dial::{DialError, Dialed, Dialer, Wish};
use crate::relay::pace::Pacer;
use crate::relay::private::Private;
use crate::relay::protocol::{Connect, InfoRewrite};
use crate::relay::report::{Board, Meter};
use crate::relay::settings::RelaySettings;
use crate::store::Store;

/// Between two passes over the servers while a client waits.
const BETWEEN_PASSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// The INFO with which a server begins.
#[derive(Clone)]
pub(crate) struct Greeting {
    pub(crate) json: Arc<[u8]>,
    pub(crate) max_payload: u64,
}

impl Greeting {
    pub(crate) fn of(dialed: &Dialed) -> Self {
        Self {
            json: dialed.info_json.as_slice().into(),
            max_payload: dialed.info.max_payload,
        }
    }
}

/// What all sessions of one relay share.
pub(crate) struct Shared {
    pub(crate) settings: RelaySettings,
    pub(crate) dialer: Dialer,
    pub(crate) pacer: Pacer,
    pub(crate) board: Arc<Board>,
    patience: Duration,
    /// What the last server said first.
    greeting: Mutex<Option<Greeting>>,
    /// Clients of this relay that a server accepted and that are still there.
    pub(super) accepted: Arc<AtomicUsize>,
    /// If the one client is of this process.
    pub(super) private: Option<Private>,
    /// New material is shown to this relay's servers first. A private relay leaves that to its
    /// client's own registration.
    _registration: Option<Registration>,
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
        let is_live = move || live.load(Relaxed) > 0;
        let upstream = settings.upstream.clone();
        let registration = registry.register_relay(servers.clone(), upstream, is_live);
        Self {
            accepted,
            _registration: Some(registration),
            ..Self::private(store, servers, settings, board, None)
        }
    }

    /// Of a relay that nobody registers, for a client of this process if there is one.
    pub(super) fn private(
        store: Arc<Store>,
        servers: ServerList,
        settings: RelaySettings,
        board: Arc<Board>,
        private: Option<Private>,
    ) -> Self {
        Self {
            _registration: None,
            private,
            accepted: Arc::default(),
            pacer: Pacer::new(&store, settings.spread, settings.handovers_at_once, &board),
            patience: settings.patience(&servers),
            greeting: Mutex::default(),
            dialer: Dialer::new(store, servers, settings.upstream.clone()),
            settings,
            board,
        }
    }

    /// The first upstream of a new session, up to INFO; tried as long as the patience lasts, and not
    /// longer. Without any patience, one whole pass over the servers.
    ///
    /// # Errors
    /// What the last whole pass over the servers ended with. A refusal ends it at once: nothing
    /// but an outage passes by itself.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn first_upstream(&self) -> Result<Dialed, DialError> {
        let wish = Wish::default();
        if self.patience.is_zero() {
            return self
                .dialer
                .open(&wish)
                .await
                .inspect(|dialed| self.greet_with(dialed));
        }
        let until = Instant::now() + self.patience;
        let mut last = DialError::Silence;
        let mut passes = 0;
        loop {
            let Ok(outcome) = timeout_at(until, self.dialer.open(&wish)).await else {
                return Err(last);
            };
            last = match outcome {
                Err(error) if error.is_outage() => error,
                decided => return decided.inspect(|dialed| self.greet_with(dialed)),
            };
            passes += 1;
            let pause = BETWEEN_PASSES.wait(passes);
            if Instant::now() + pause >= until {
                return Err(last);
            }
            debug!(error = %last, "a client waits for NATS");
            sleep(pause).await;
        }
    }

    /// What a server said first; none before the first one did.
    pub(crate) fn greeting(&self) -> Option<Greeting> {
        let greeting = self.greeting.lock();
        greeting.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what this server said: the next client that has to say credentials first is told so.
    pub(crate) fn greet_with(&self, dialed: &Dialed) {
        let mut last = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Greeting::of(dialed));
    }

    /// One pass over the servers for a client whose CONNECT is known.
    ///
    /// # Errors
    /// As [`Dialer::join`]; a client of this process is told.
    ///
    /// # Cancel safety
    /// As [`Dialer::join`].
    pub(crate) async fn join(&self, wish: &Wish, connect: &Connect) -> Result<Dialed, DialError> {
        let published = self.dialer.published();
        let outcome = self.dialer.join(wish, connect).await;
        match (&outcome, &self.private) {
            (Ok(dialed), _) => self.greet_with(dialed),
            (Err(error), Some(private)) => {
                private.far.failed(self.dialer.pass(error, published));
            }
            (Err(_), None) => {}
        }
        outcome
    }

    /// What clients are told otherwise than the server said it: that they must say the local
    /// credentials, and have nothing to sign.
    pub(crate) fn info_rewrite(&self) -> InfoRewrite {
        let local = self.settings.local.is_some();
        InfoRewrite {
            auth_required: local.then_some(true),
            drop_nonce: local,
            drop_client: false,
            lame_duck: None,
        }
    }

    /// Counts the traffic of one session.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(&self.board)
    }
}
