//! The question asked of a candidate before it is published. The trait is here; whoever can ask a
//! server implements it further down.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::material::{Material, Rejection};
use crate::store::Snapshot;

/// A boxed answer, so that [`Gate`] can be a trait object.
pub type GateFuture<'a> = Pin<Box<dyn Future<Output = GateAnswer> + Send + 'a>>;

/// Asked before publish: would the world outside accept this candidate?
pub trait Gate: Send + Sync + 'static {
    /// Asks about `candidate`. `active` is what would be replaced: something that is refused to
    /// both says nothing about the candidate.
    ///
    /// # Cancel safety
    /// Dropped when a newer candidate appears; must leave nothing behind.
    fn ask<'a>(&'a self, candidate: &'a Candidate, active: &'a Snapshot) -> GateFuture<'a>;
}

/// Valid material that is not published yet, and the configuration it would be used with.
pub struct Candidate {
    pub(crate) material: Arc<Material>,
    pub(crate) client_config: Arc<ClientConfig>,
}

impl Candidate {
    /// The validated set.
    #[must_use]
    pub fn material(&self) -> &Arc<Material> {
        &self.material
    }

    /// The rustls configuration that would be published with it.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client_config)
    }
}

/// What a gate answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateAnswer {
    /// Asked and accepted.
    Accepted,
    /// Nobody to ask: no server is registered, or asking is switched off.
    NotAsked {
        /// Why nobody was asked.
        why: &'static str,
    },
    /// Refused; the candidate is not published.
    Refused(Rejection),
    /// No answer that means anything (unreachable, throttled, timed out): ask again later.
    Pending {
        /// What was seen, each server named.
        detail: String,
    },
}
