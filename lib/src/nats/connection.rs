//! The handle of one managed connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock;
use crate::material::CertificateFacts;
use crate::nats::event::{ConnectionEvent, ConnectionState};
use crate::nats::totals::ConnectionTotals;
use crate::store::Generation;

/// What is known of a connection; the wire's side of the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionReport {
    /// The name it was given.
    pub component: String,
    /// The server it is, or was last, connected to.
    pub server: Option<String>,
    /// The id of that server, from INFO: the `server_id` of its monitoring.
    pub server_id: Option<String>,
    /// The number that server gave the connection, from INFO: the `cid` of its `/connz`.
    pub client_id: Option<u64>,
    /// Where it is in its life.
    pub state: ConnectionState,
    /// The generation it last came up on.
    pub generation: Option<Generation>,
    /// Whether the server asked for a certificate, so that it was presented; none before the
    /// first handshake.
    pub presented: Option<bool>,
    /// Since when it is in this state, by the local clock.
    pub since: SystemTime,
    /// The true cause of the last failed attempt, cleared when it is up.
    pub last_error: Option<String>,
    /// How often it came up. A handover is none of these.
    pub connects: u64,
    /// The certificate that it presented last; none if the server asked for none.
    pub client_leaf: Option<Arc<CertificateFacts>>,
    /// The certificate that the server presented last.
    pub server_leaf: Option<Arc<CertificateFacts>>,
    /// What it has been through. Unlike `connects` these go on if the connection is made again
    /// under the same name.
    pub totals: ConnectionTotals,
}

impl ConnectionReport {
    pub(crate) fn connecting(component: &str, totals: ConnectionTotals) -> Self {
        Self {
            component: component.to_owned(),
            server: None,
            server_id: None,
            client_id: None,
            state: ConnectionState::Connecting,
            generation: None,
            presented: None,
            since: clock::now(),
            last_error: None,
            connects: 0,
            client_leaf: None,
            server_leaf: None,
            totals,
        }
    }
}

/// What the handle asks of the driver.
pub(crate) enum Request {
    Drain,
    GiveUp,
}

/// A managed NATS connection. Keep it as long as the client is used.
///
/// Dropping it ends the management, not the client: clones of the client go on, but nobody asks
/// their servers before a publish, moves them, rolls back for them or shows them in the status.
/// They still present what is active when they happen to reconnect; once the manager is gone too,
/// that never changes again. Use [`Connection::drain`] to end both. With `ConnectSettings::handover`
/// dropping it drains the client too.
#[derive(Debug)]
pub struct Connection {
    client: async_nats::Client,
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<ConnectionEvent>,
    epoch: watch::Receiver<u64>,
    report: watch::Receiver<ConnectionReport>,
    driver: JoinHandle<()>,
    /// Read by the client's callbacks; see `Wires`.
    over: Arc<AtomicBool>,
}

impl Connection {
    pub(crate) fn new(
        client: async_nats::Client,
        requests: mpsc::Sender<Request>,
        events: broadcast::Sender<ConnectionEvent>,
        epoch: watch::Receiver<u64>,
        report: watch::Receiver<ConnectionReport>,
        driver: JoinHandle<()>,
        over: Arc<AtomicBool>,
    ) -> Self {
        Self {
            client,
            requests,
            events,
            epoch,
            report,
            driver,
            over,
        }
    }

    /// Nobody gets it: the start failed after all. Unregistered when this returns, and never dialled again.
    pub(crate) async fn give_up(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.requests.send(Request::GiveUp).await.ok();
        (&mut self.driver).await.ok();
    }

    /// The plain client; it and everything made from it stay valid across rotations.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// Events from now on. A receiver that falls more than 64 events behind is told how many it
    /// missed; [`Connection::reconnect_epoch`] never misses the last.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.events.subscribe()
    }

    /// Grows with every re-established connection: rebuild JetStream consumers, KV watches and
    /// caches when it changes.
    #[must_use]
    pub fn reconnect_epoch(&self) -> watch::Receiver<u64> {
        self.epoch.clone()
    }

    /// What is known of the connection now.
    #[must_use]
    pub fn report(&self) -> ConnectionReport {
        self.report.borrow().clone()
    }

    /// Waits until the connection came up on `generation` or a later one, or is closed.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is held.
    pub async fn reached(&self, generation: Generation) -> bool {
        let mut report = self.report.clone();
        let reached = |report: &ConnectionReport| {
            report.state == ConnectionState::Connected && report.generation >= Some(generation)
        };
        let end = report
            .wait_for(|report| reached(report) || report.state == ConnectionState::Closed)
            .await;
        end.is_ok_and(|report| reached(&report))
    }

    /// Waits until the connection is over for good. It never ends because a server is down: then
    /// the client goes on trying.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is held.
    pub async fn closed(&self) {
        let mut report = self.report.clone();
        // A driver that is gone has closed it.
        report
            .wait_for(|report| report.state == ConnectionState::Closed)
            .await
            .ok();
    }

    /// Finishes what is buffered, unsubscribes everything and closes the connection, for every
    /// clone of its client. Tells whether that was done within `limit`. If not, because the server
    /// does not answer or is down, the connection is given up: it is never dialled again.
    ///
    /// # Cancel safety
    /// Once polled the drain goes on even if the future is dropped.
    pub async fn drain(self, limit: Duration) -> bool {
        let mut report = self.report.clone();
        self.over.store(true, Ordering::Relaxed);
        // A driver that ended has nothing left to drain.
        self.requests.send(Request::Drain).await.ok();
        let closed = report.wait_for(|report| report.state == ConnectionState::Closed);
        tokio::time::timeout(limit, closed).await.is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A drain goes on without its handle, and then ends the driver.
        if !self.over.load(Ordering::Relaxed) {
            self.driver.abort();
        }
    }
}
