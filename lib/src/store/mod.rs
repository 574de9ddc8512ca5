//! The one atomic swap: what is published, which number it has, and what was last confirmed.
//!
//! Owns [`Snapshot`] and its succession. Must not judge material or open connections.

mod gate;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use tokio::sync::watch;

pub use gate::{Candidate, Gate, GateAnswer, GateFuture};

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
}

/// One immutable value: a generation, its material and the rustls configuration made from it.
pub struct Snapshot {
    generation: Generation,
    origin: Origin,
    material: Arc<Material>,
    client_config: Arc<ClientConfig>,
}

impl Snapshot {
    /// Which publish this is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The generation that failed, if this one is a rollback.
    #[must_use]
    pub fn rolled_back_from(&self) -> Option<Generation> {
        match self.origin {
            Origin::Rollback { from } => Some(from),
            Origin::Change { .. } => None,
        }
    }

    /// When the change that led to this generation was seen; none for a rollback.
    pub(crate) fn change_seen(&self) -> Option<Instant> {
        match self.origin {
            Origin::Change { seen } => seen,
            Origin::Rollback { .. } => None,
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
    confirmed: Mutex<Option<Arc<Snapshot>>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            active: ArcSwapOption::empty(),
            generation: watch::Sender::new(Generation::NONE),
            publishing: Mutex::new(()),
            confirmed: Mutex::new(None),
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
            material,
            client_config,
        });
        self.active.store(Some(Arc::clone(&snapshot)));
        self.generation.send_replace(generation);
        snapshot
    }

    /// Remembers that live connections came up on `generation`. Ignored unless it is the active one.
    pub(crate) fn confirm(&self, generation: Generation) {
        if let Some(active) = self
            .active()
            .filter(|active| active.generation == generation)
        {
            *self
                .confirmed
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(active);
        }
    }

    /// The last snapshot that live connections came up on.
    pub(crate) fn confirmed(&self) -> Option<Arc<Snapshot>> {
        self.confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
