//! A connection that came up, or was moved: what it showed the server, and the server it.

use std::sync::Arc;

use crate::material::CertificateFacts;
use crate::nats::connection::ConnectionReport;
use crate::nats::way::Up;
use crate::store::Generation;

/// Where a connection leads.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `host:port` as people know it.
    pub(crate) server: Option<String>,
    pub(crate) server_id: Option<String>,
    pub(crate) client_id: Option<u64>,
}

/// See the module documentation.
pub(crate) struct Arrival {
    place: Place,
    connects: u64,
    generation: Generation,
    client_leaf: Option<Arc<CertificateFacts>>,
    server_leaf: Option<Arc<CertificateFacts>>,
}

impl Arrival {
    /// The facts of a connection that was not seen before.
    pub(crate) fn of(up: &Up, place: Place) -> Self {
        let wire = &up.wire;
        let client_leaf = || Arc::new(wire.snapshot.material().facts().leaf().clone());
        Self {
            place,
            connects: up.connects,
            generation: wire.snapshot.generation(),
            client_leaf: wire.presented.then(client_leaf),
            server_leaf: wire
                .server
                .as_ref()
                .and_then(|der| CertificateFacts::from_der(der))
                .map(Arc::new),
        }
    }

    /// Whether the server asked for our certificate.
    pub(crate) fn presented(&self) -> bool {
        self.client_leaf.is_some()
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn write(self, report: &mut ConnectionReport) {
        report.presented = Some(self.presented());
        report.server = self.place.server;
        report.server_id = self.place.server_id;
        report.client_id = self.place.client_id;
        report.connects = self.connects;
        report.generation = Some(self.generation);
        report.client_leaf = self.client_leaf;
        report.server_leaf = self.server_leaf;
        report.last_error = None;
    }
}
