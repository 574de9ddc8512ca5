//! Who is connected, or wants to be: the servers a gate asks, and which generation everybody is on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::nats::connection::ConnectionReport;
use crate::nats::servers::ServerList;
use crate::nats::settings::ConnectSettings;
use crate::store::Generation;

/// One registered connection, before and after it is up.
pub(crate) struct Registered {
    pub(crate) servers: ServerList,
    pub(crate) settings: ConnectSettings,
    report: watch::Sender<ConnectionReport>,
}

impl Registered {
    /// Changes what is known of the connection.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ConnectionReport)) {
        self.report.send_modify(change);
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
        if entries
            .iter()
            .any(|entry| entry.settings.component == settings.component)
        {
            return None;
        }
        let report = ConnectionReport::connecting(&settings.component);
        let entry = Arc::new(Registered {
            servers,
            settings,
            report: watch::Sender::new(report),
        });
        entries.push(Arc::clone(&entry));
        Some(Registration {
            registry: Arc::clone(self),
            entry,
        })
    }

    pub(crate) fn all(&self) -> Vec<Arc<Registered>> {
        self.entries().clone()
    }

    pub(crate) fn reports(&self) -> Vec<ConnectionReport> {
        self.entries().iter().map(|entry| entry.report()).collect()
    }

    /// The newest generation that every connection that ever was up came up on.
    pub(crate) fn common_generation(&self) -> Option<Generation> {
        self.entries()
            .iter()
            .filter_map(|entry| entry.report.borrow().generation)
            .min()
    }
}

/// Keeps a connection registered.
pub(crate) struct Registration {
    registry: Arc<Registry>,
    entry: Arc<Registered>,
}

impl Registration {
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
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
        self.registry
            .entries()
            .retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}
