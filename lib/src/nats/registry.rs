//! Who is connected, or wants to be: the servers a gate asks, and which generation everybody is on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::clock;
use crate::nats::connection::ConnectionReport;
use crate::nats::event::ConnectionState;
use crate::nats::journal::{Journal, Observation};
use crate::nats::servers::ServerList;
use crate::nats::settings::ConnectSettings;
use crate::nats::totals::ConnectionTotals;

/// One registered connection, before and after it is up.
pub(crate) struct Registered {
    pub(crate) servers: ServerList,
    pub(crate) settings: ConnectSettings,
    report: watch::Sender<ConnectionReport>,
    started: Instant,
    journal: Arc<Journal>,
    relay: Option<RelaySide>,
}

/// What a relay is to a gate: clients that are up, on connections that nobody else reports.
struct RelaySide {
    is_live: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Registered {
    /// Whether anybody is connected who would be moved.
    pub(crate) fn is_live(&self) -> bool {
        match &self.relay {
            Some(relay) => (relay.is_live)(),
            None => self.look(|report| report.state == ConnectionState::Connected),
        }
    }

    /// Whether this stands for clients that may have credentials of their own, which nobody else
    /// can ask a server about.
    pub(crate) fn is_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// Changes what is known of the connection.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ConnectionReport)) {
        self.report.send_modify(change);
        self.journal.notify();
    }

    /// Whether a preflight for one of them answers for the other.
    pub(crate) fn asks_like(&self, other: &Self) -> bool {
        self.servers.addresses() == other.servers.addresses()
            && self.servers.credentials() == other.servers.credentials()
            && self.settings.handshakes_like(&other.settings)
    }

    /// Its driver panicked: nobody moves it or looks at it any more. Stays registered, so that the
    /// probes see it: only a restart helps.
    fn abandon(&self) {
        self.update(|report| {
            report.state = ConnectionState::Closed;
            report.since = clock::now();
            report.totals.break_down(now());
        });
    }

    pub(crate) fn observe(&self, observation: Observation) {
        self.journal.observe(observation);
    }

    /// When it was registered.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Reads a part of the report without copying the whole.
    pub(crate) fn look<T>(&self, read: impl FnOnce(&ConnectionReport) -> T) -> T {
        read(&self.report.borrow())
    }

    pub(crate) fn report(&self) -> ConnectionReport {
        self.report.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<ConnectionReport> {
        self.report.subscribe()
    }
}

/// Every registered connection of one manager.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<Vec<Arc<Registered>>>,
    /// Totals of components that are not registered now, so that theirs never go back.
    retired: Mutex<BTreeMap<String, ConnectionTotals>>,
    journal: Arc<Journal>,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Registered>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection until the returned guard is dropped; none if another one has the
    /// same component name.
    pub(crate) fn register(
        self: &Arc<Self>,
        servers: ServerList,
        settings: ConnectSettings,
    ) -> Option<Registration> {
        let mut entries = self.entries();
        if reported(&entries).any(|entry| entry.settings.component == settings.component) {
            return None;
        }
        let totals = self.retired().remove(&settings.component);
        let mut totals = totals.unwrap_or_default();
        totals.begin();
        let report = ConnectionReport::connecting(&settings.component, totals);
        let entry = Arc::new(Registered {
            servers,
            settings,
            report: watch::Sender::new(report),
            started: now(),
            journal: Arc::clone(&self.journal),
            relay: None,
        });
        entries.push(Arc::clone(&entry));
        self.journal.notify();
        Some(Registration {
            registry: Arc::clone(self),
            entry,
            gave_up: false,
            is_driven: false,
        })
    }

    /// Registers a relay until the returned guard is dropped: its servers are asked, and it has no
    /// report here.
    #[cfg(feature = "relay")]
    pub(crate) fn register_relay(
        self: &Arc<Self>,
        servers: ServerList,
        settings: ConnectSettings,
        is_live: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Registration {
        let report = ConnectionReport::connecting("relay", ConnectionTotals::default());
        let entry = Arc::new(Registered {
            servers,
            settings,
            report: watch::Sender::new(report),
            started: now(),
            journal: Arc::clone(&self.journal),
            relay: Some(RelaySide {
                is_live: Box::new(is_live),
            }),
        });
        self.entries().push(Arc::clone(&entry));
        Registration {
            registry: Arc::clone(self),
            entry,
            gave_up: false,
            is_driven: false,
        }
    }

    fn retired(&self) -> MutexGuard<'_, BTreeMap<String, ConnectionTotals>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reports, and the totals of components that were registered once and are not now: each
    /// component is in one of them.
    pub(crate) fn all_totals(&self) -> (Vec<ConnectionReport>, Vec<(String, ConnectionTotals)>) {
        let entries = self.entries();
        let reports = reported(&entries).map(|entry| entry.report()).collect();
        let retired = self.retired();
        let pairs = retired.iter();
        let pairs = pairs.map(|(name, totals)| (name.clone(), *totals));
        (reports, pairs.collect())
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    pub(crate) fn all(&self) -> Vec<Arc<Registered>> {
        self.entries().clone()
    }

    pub(crate) fn reports(&self) -> Vec<ConnectionReport> {
        reported(&self.entries())
            .map(|entry| entry.report())
            .collect()
    }
}

/// Those that are connections of their own.
fn reported(entries: &[Arc<Registered>]) -> impl Iterator<Item = &Arc<Registered>> {
    entries.iter().filter(|entry| !entry.is_relay())
}

/// Names whose totals are kept after their connection has gone; they should be few and fixed.
const MOST_RETIRED: usize = 256;

/// Keeps a connection registered.
pub(crate) struct Registration {
    registry: Arc<Registry>,
    entry: Arc<Registered>,
    gave_up: bool,
    is_driven: bool,
}

impl Registration {
    /// A driver looks after it from now on: if that dies, the connection is lost to us.
    pub(crate) fn drive(&mut self) {
        self.is_driven = true;
    }

    /// There is no connection although one is wanted: its end is not on purpose.
    pub(crate) fn give_up(&mut self) {
        self.gave_up = true;
    }
}

impl std::ops::Deref for Registration {
    type Target = Registered;

    fn deref(&self) -> &Registered {
        &self.entry
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.is_driven && std::thread::panicking() {
            return self.entry.abandon();
        }
        let registry = &self.registry;
        let mut entries = registry.entries();
        entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        if self.entry.is_relay() {
            return;
        }
        let (state, mut totals) = self.entry.look(|report| (report.state, report.totals));
        let broke = state == ConnectionState::Closed && !totals.is_ended();
        totals.retire(!self.gave_up && !broke, now());
        // While the entries are locked, as in `register`: nobody sees the component nowhere.
        let mut retired = registry.retired();
        retired.insert(self.entry.settings.component.clone(), totals);
        if retired.len() > MOST_RETIRED {
            retired.pop_first();
        }
        drop(retired);
        registry.journal.notify();
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
