//! How a client gets to its servers, and where to look for what its connection shows them: by
//! itself, with a TLS configuration that follows the store, or through a relay of this process.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use async_nats::Client;
use async_nats::connection::State;

use crate::nats::arrival::Place;
#[cfg(feature = "relay")]
use crate::nats::hop::Hop;
use crate::nats::servers::ServerList;
use crate::tls::{SerialConfig, Wire};

/// Resolves once nothing is left to be done for a client that has ended.
pub(crate) type Finished = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module documentation.
pub(crate) enum Way {
    Direct(SerialConfig),
    /// The relay moves it onto each generation.
    #[cfg(feature = "relay")]
    Relayed(Hop),
}

/// A connection at one moment.
pub(crate) enum Sight {
    Down,
    Up(Up),
}

pub(crate) struct Up {
    /// How often it came up.
    pub(crate) connects: u64,
    /// How often it was moved without going down.
    pub(crate) moves: u64,
    pub(crate) wire: Wire,
    /// Where it leads, if that is not the client's to know.
    pub(crate) place: Option<Place>,
}

impl Way {
    /// What is to be seen; none if it changed while it was looked at. The handshake belongs to the
    /// connection only if nothing did.
    pub(crate) fn look(&self, client: &Client) -> Option<Sight> {
        match self {
            Self::Direct(serial) => {
                let statistics = client.statistics();
                let observe = || (is_up(client), statistics.connects.load(Ordering::SeqCst));
                let before = observe();
                let wire = serial.wire();
                if before != observe() {
                    return None;
                }
                Some(match (before, wire) {
                    ((true, connects), Some(wire)) => Sight::Up(Up {
                        connects,
                        moves: 0,
                        wire,
                        place: None,
                    }),
                    _ => Sight::Down,
                })
            }
            #[cfg(feature = "relay")]
            Self::Relayed(hop) => {
                let far = hop.far();
                Some(match far.up {
                    Some((place, wire)) if is_up(client) => Sight::Up(Up {
                        connects: far.connects,
                        moves: far.moves,
                        wire,
                        place: Some(place),
                    }),
                    _ => Sight::Down,
                })
            }
        }
    }

    /// What the last handshake presented.
    pub(crate) fn wire(&self) -> Option<Wire> {
        match self {
            Self::Direct(serial) => serial.wire(),
            #[cfg(feature = "relay")]
            Self::Relayed(hop) => hop.far().up.map(|(_, wire)| wire),
        }
    }

    /// Whether somebody else moves the connection.
    pub(crate) fn is_relayed(&self) -> bool {
        match self {
            Self::Direct(_) => false,
            #[cfg(feature = "relay")]
            Self::Relayed(_) => true,
        }
    }

    /// Whether the connection is about to be closed for the sake of its certificate.
    pub(crate) fn leaves(&self) -> bool {
        match self {
            Self::Direct(_) => false,
            #[cfg(feature = "relay")]
            Self::Relayed(hop) => hop.far().leaves,
        }
    }

    /// Why the connection was not moved, if that was tried last.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::Direct(_) => None,
            #[cfg(feature = "relay")]
            Self::Relayed(hop) => hop.far().trouble,
        }
    }

    /// Waits for a change that the client does not tell; false if nothing will lead anywhere any
    /// more.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call sees the change.
    pub(crate) async fn changed(&mut self) -> bool {
        match self {
            Self::Direct(_) => std::future::pending().await,
            #[cfg(feature = "relay")]
            Self::Relayed(hop) => hop.changed().await,
        }
    }

    /// Ends what the way needs, once the client has ended; none if it needs nothing.
    pub(crate) fn finish(&self) -> Option<Finished> {
        match self {
            Self::Direct(_) => None,
            #[cfg(feature = "relay")]
            Self::Relayed(hop) => hop.finish(),
        }
    }
}

fn is_up(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// Where a client that speaks to its server itself says that it is.
pub(crate) fn place_of(client: &Client, servers: &ServerList) -> Place {
    let server = client.try_server_info();
    Place {
        server: server
            .as_ref()
            .map(|info| servers.label_of(&info.host, info.port)),
        client_id: server.as_ref().map(|info| info.client_id),
        server_id: server.map(|info| info.server_id),
    }
}
