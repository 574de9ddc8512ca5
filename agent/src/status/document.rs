//! `/status` as it is read: keys that are missing or unknown are tolerated, because the agent asked
//! may be older or newer. Names such as states stay text for the same reason.

use std::time::SystemTime;

use serde::Deserialize;

use super::others::{Confirm, Notify};

/// The least that makes a document a status.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) schema_version: u64,
    pub(super) ready: bool,
    pub(super) reason: Option<String>,
    pub(super) generation: Option<u64>,
    pub(super) rolled_back_from: Option<u64>,
    pub(super) warnings: Option<Vec<String>>,
    pub(super) active: Option<Active>,
    #[serde(default)]
    pub(super) disk: Disk,
    pub(super) last_reload: Option<Reload>,
    pub(super) last_rejection: Option<Rejection>,
    pub(super) last_preflight: Option<Preflight>,
    pub(super) watcher: Option<Watcher>,
    pub(super) publish: Option<Publish>,
    pub(super) connections: Option<Vec<Connection>>,
    pub(super) relay: Option<Relay>,
    pub(super) notify: Option<Notify>,
    pub(super) confirm: Option<Confirm>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Active {
    pub(super) since: Option<String>,
    pub(super) leaf: Option<Certificate>,
    pub(super) chain: Option<Vec<Certificate>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Certificate {
    pub(super) subject: Option<String>,
    pub(super) fingerprint_sha256: Option<String>,
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Disk {
    pub(super) verdict: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) differs_since: Option<String>,
    pub(super) leaf: Option<Certificate>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reload {
    pub(super) result: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rejection {
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) advice: Option<String>,
    pub(super) at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Preflight {
    pub(super) result: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Watcher {
    pub(super) mode: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Publish {
    pub(super) directory: Option<String>,
    pub(super) generation: Option<u64>,
    pub(super) error: Option<String>,
    pub(super) failing_since: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connection {
    pub(super) name: Option<String>,
    pub(super) server: Option<String>,
    pub(super) state: Option<String>,
    pub(super) generation: Option<u64>,
    pub(super) presented: Option<bool>,
    pub(super) since: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) failed_attempts: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Relay {
    pub(super) listen: Option<String>,
    pub(super) sessions: Option<u64>,
    pub(super) behind: Option<u64>,
    pub(super) handovers: Option<Handovers>,
    pub(super) last_failure: Option<RelayFailure>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Handovers {
    pub(super) ok: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) fallback: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RelayFailure {
    pub(super) detail: Option<String>,
    pub(super) at: Option<String>,
}

impl Document {
    pub(super) fn connections(&self) -> &[Connection] {
        self.connections.as_deref().unwrap_or_default()
    }

    pub(super) fn active_leaf(&self) -> Option<&Certificate> {
        self.active.as_ref()?.leaf.as_ref()
    }

    /// The certificate of the active chain that ends first.
    pub(super) fn ends_first(&self) -> Option<&Certificate> {
        let chain = self.active.as_ref()?.chain.as_deref().unwrap_or_default();
        chain
            .iter()
            .filter(|certificate| certificate.validity().is_some())
            .min_by_key(|certificate| certificate.validity().map(|(_, end)| end))
            .or_else(|| self.active_leaf())
    }
}

impl Certificate {
    pub(super) fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        Some((time(&self.not_before)?, time(&self.not_after)?))
    }
}

impl Connection {
    pub(super) fn is_connected(&self) -> bool {
        self.state.as_deref() == Some("connected")
    }
}

/// RFC 3339, in UTC as an agent writes it; none for anything else.
pub(super) fn time(text: &Option<String>) -> Option<SystemTime> {
    humantime::parse_rfc3339(text.as_deref()?).ok()
}
