//! The one atomic swap: what is published, which number it has, and what was last confirmed.
//!
//! Owns [`Snapshot`] and its succession. Must not judge material or open connections.

mod gate;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use tokio::sync::watch;

pub use gate::{Candidate, Gate, GateAnswer, GateFuture};

use crate::clock;
use crate::material::Material;

/// The number of a published material: 0 is none, the first publish is 1, a rollback counts too.
/// Per process; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(u64);

impl Generation {
    /// Before the first publish.
    pub const NONE: Self = Self(0);

    /// The number itself.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a generation was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The source holds something new, first read at this moment.
    Change { seen: Option<Instant> },
    /// Connections could not come up on this generation.
    Rollback { from: Generation },
    /// At the start the source had nothing acceptable; this was kept from an earlier life.
    Restored,
}

/// One immutable value: a generation, its material and the rustls configuration made from it.
pub struct Snapshot {
    generation: Generation,
    origin: Origin,
    published_at: SystemTime,
    material: Arc<Material>,
    client_config: Arc<ClientConfig>,
}

impl Snapshot {
    /// Which publish this is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// When it was published, by the local clock.
    #[must_use]
    pub fn published_at(&self) -> SystemTime {
        self.published_at
    }

    /// The generation that failed, if this one is a rollback.
    #[must_use]
    pub fn rolled_back_from(&self) -> Option<Generation> {
        match self.origin {
            Origin::Rollback { from } => Some(from),
            Origin::Change { .. } | Origin::Restored => None,
        }
    }

    /// Whether this is the last good set, kept from an earlier life of the process, because the
    /// source had nothing acceptable at the start.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.origin == Origin::Restored
    }

    /// When the change that led to this generation was seen; none for a rollback
    /// and for what was restored.
    pub(crate) fn change_seen(&self) -> Option<Instant> {
        match self.origin {
            Origin::Change { seen } => seen,
            Origin::Rollback { .. } | Origin::Restored => None,
        }
    }

    /// The validated set.
    #[must_use]
    pub fn material(&self) -> &Arc<Material> {
        &self.material
    }

    /// A rustls configuration that presents this snapshot's certificate and trusts its roots, and
    /// never resumes a session. Take a fresh one for each connection; a kept one grows old.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client_config)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("origin", &self.origin)
            .field("leaf", &self.material.facts().leaf().fingerprint_sha256)
            .finish_non_exhaustive()
    }
}

/// Holds the active snapshot. Readers never wait; writers publish one at a time.
pub(crate) struct Store {
    active: ArcSwapOption<Snapshot>,
    generation: watch::Sender<Generation>,
    /// Held while a generation is drawn, swapped in and told.
    publishing: Mutex<()>,
    /// Newest last, each with other material.
    confirmed: Mutex<VecDeque<Arc<Snapshot>>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            active: ArcSwapOption::empty(),
            generation: watch::Sender::new(Generation::NONE),
            publishing: Mutex::new(()),
            confirmed: Mutex::default(),
        }
    }

    /// The active snapshot; none before the first publish.
    pub(crate) fn active(&self) -> Option<Arc<Snapshot>> {
        self.active.load_full()
    }

    /// Told after each swap. A receiver that looks at the store after a change sees at least the
    /// generation it was told.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Generation> {
        self.generation.subscribe()
    }

    /// Swaps first, then tells.
    pub(crate) fn publish(
        &self,
        material: Arc<Material>,
        client_config: Arc<ClientConfig>,
        origin: Origin,
    ) -> Arc<Snapshot> {
        let _turn = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.borrow().next();
        let snapshot = Arc::new(Snapshot {
            generation,
            origin,
            published_at: clock::now(),
            material,
            client_config,
        });
        self.active.store(Some(Arc::clone(&snapshot)));
        self.generation.send_replace(generation);
        snapshot
    }

    /// Remembers that a live connection came up on `snapshot`.
    pub(crate) fn confirm(&self, snapshot: &Arc<Snapshot>) {
        let mut confirmed = self.lock_confirmed();
        if confirmed
            .back()
            .is_some_and(|newest| newest.generation >= snapshot.generation)
        {
            return;
        }
        let digest = snapshot.material.digest();
        confirmed.retain(|known| known.material.digest() != digest);
        confirmed.push_back(Arc::clone(snapshot));
        // One may be what just failed for somebody; the other is then the way back.
        if confirmed.len() > 2 {
            confirmed.pop_front();
        }
    }

    /// The newest confirmed snapshot whose material is not `failed` and `may_serve`.
    pub(crate) fn confirmed_before(
        &self,
        failed: &Material,
        may_serve: impl Fn(&Material) -> bool,
    ) -> Option<Arc<Snapshot>> {
        let confirmed = self.lock_confirmed();
        let mut others = confirmed
            .iter()
            .rev()
            .filter(|known| known.material.digest() != failed.digest())
            .filter(|known| may_serve(&known.material));
        others.next().cloned()
    }

    fn lock_confirmed(&self) -> MutexGuard<'_, VecDeque<Arc<Snapshot>>> {
        self.confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
