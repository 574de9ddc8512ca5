//! A connection that came up: what it showed the server, and the server it.

use std::sync::Arc;

use async_nats::Client;

use crate::material::CertificateFacts;
use crate::nats::connection::ConnectionReport;
use crate::nats::registry::Registered;
use crate::store::Generation;
use crate::tls::Wire;

/// See the module documentation.
pub(crate) struct Arrival {
    server: Option<String>,
    server_id: Option<String>,
    client_id: Option<u64>,
    connects: u64,
    generation: Generation,
    client_leaf: Option<Arc<CertificateFacts>>,
    server_leaf: Option<Arc<CertificateFacts>>,
}

impl Arrival {
    /// What is new about a connection that is up for the `connects`-th time; none if it is the one
    /// that is known.
    pub(crate) fn of(
        client: &Client,
        registered: &Registered,
        connects: u64,
        wire: &Wire,
    ) -> Option<Self> {
        let generation = wire.snapshot.generation();
        let known = registered.look(|report| (report.connects, report.generation));
        if known == (connects, Some(generation)) {
            return None;
        }
        let client_leaf = || Arc::new(wire.snapshot.material().facts().leaf().clone());
        let server = client.try_server_info();
        Some(Self {
            server: server
                .as_ref()
                .map(|info| registered.servers.label_of(&info.host, info.port)),
            client_id: server.as_ref().map(|info| info.client_id),
            server_id: server.map(|info| info.server_id),
            connects,
            generation,
            client_leaf: wire.presented.then(client_leaf),
            server_leaf: wire
                .server
                .as_ref()
                .and_then(|der| CertificateFacts::from_der(der))
                .map(Arc::new),
        })
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
        report.server = self.server;
        report.server_id = self.server_id;
        report.client_id = self.client_id;
        report.connects = self.connects;
        report.generation = Some(self.generation);
        report.client_leaf = self.client_leaf;
        report.server_leaf = self.server_leaf;
        report.last_error = None;
    }
}
