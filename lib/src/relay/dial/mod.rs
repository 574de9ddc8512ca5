//! The way to a server: TCP, TLS under the active snapshot, INFO, and, for a client whose CONNECT is
//! remembered, everything up to the PONG.
//!
//! Nothing is believed before that PONG: in TLS 1.3 a refusal of the client certificate arrives
//! only with the first read. Everything read is capped, every attempt is limited in time.

mod error;
mod handshake;
mod order;
mod socket;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::ServerAddr;
use rustls_pki_types::ServerName;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::client::TlsStream;
use tracing::debug;

use crate::backoff::Backoff;
use crate::nats::{Authentication, ConnectSettings, Failure, Pass, ServerList, server_label};
use crate::relay::protocol::{Connect, ServerInfo};
use crate::store::{Generation, Store};
use crate::tls::{self, Wire};

pub(crate) use error::{Attempt, DialError, Refusal};
pub(crate) use order::Wish;
pub(crate) use socket::Socket;

use order::Peers;

/// The encrypted connection to a server.
pub(crate) type UpstreamStream = TlsStream<Socket>;

/// A connection to a server, and what is known of it.
pub(crate) struct Dialed {
    pub(crate) stream: UpstreamStream,
    pub(crate) info: ServerInfo,
    /// The JSON of INFO as the server sent it.
    pub(crate) info_json: Vec<u8>,
    /// What was read behind INFO, or behind the PONG: perhaps a part of the next INFO.
    pub(crate) unread: Vec<u8>,
    pub(crate) peer: SocketAddr,
    /// `host:port` as configured.
    pub(crate) server: String,
    /// What the handshake showed each side.
    pub(crate) wire: Wire,
}

/// Opens upstream connections. Cheap to share.
pub(crate) struct Dialer {
    store: Arc<Store>,
    servers: ServerList,
    settings: ConnectSettings,
    peers: Mutex<Peers>,
}

/// Tries at one address: a reset may eat the alert that says why, and another try shows it.
const TRIES_WHEN_CUT_OFF: u32 = 3;
const BETWEEN_TRIES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));

impl Dialer {
    pub(crate) fn new(store: Arc<Store>, servers: ServerList, settings: ConnectSettings) -> Self {
        Self {
            store,
            servers,
            settings,
            peers: Mutex::default(),
        }
    }

    /// Connects up to INFO.
    ///
    /// # Errors
    /// [`DialError`] with what each server did; nothing is left open.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn open(&self, wish: &Wish) -> Result<Dialed, DialError> {
        self.try_all(wish, None).await
    }

    /// Connects, says CONNECT for the client, and waits for the PONG.
    ///
    /// # Errors
    /// As [`Dialer::open`]; any `-ERR` is one.
    ///
    /// # Cancel safety
    /// As [`Dialer::open`].
    pub(crate) async fn join(&self, wish: &Wish, connect: &Connect) -> Result<Dialed, DialError> {
        self.try_all(wish, Some(connect)).await
    }

    /// Says CONNECT for the client on a connection that is open, and waits for the PONG.
    ///
    /// # Errors
    /// As [`Dialer::join`], of this one server.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub(crate) async fn introduce(
        &self,
        dialed: Dialed,
        connect: &Connect,
    ) -> Result<Dialed, DialError> {
        let server = dialed.server.clone();
        let limit = self.settings.connect_timeout;
        let refusal = match timeout(limit, self.say_connect(dialed, connect)).await {
            Ok(Ok(dialed)) => return Ok(dialed),
            Ok(Err(Ended::Refused(refusal))) => refusal,
            Ok(Err(Ended::Hopeless(error))) => return Err(error),
            Ok(Err(Ended::NoOtherAddress)) | Err(_) => silence(),
        };
        Err(DialError::Servers {
            attempts: vec![Attempt { server, refusal }],
        })
    }

    /// What the next connection would be made with.
    pub(crate) fn published(&self) -> Option<Generation> {
        self.store.active().map(|snapshot| snapshot.generation())
    }

    /// What a pass over the servers showed that ended so, and began when `published` was.
    pub(crate) fn pass(&self, error: &DialError, published: Option<Generation>) -> Pass {
        Pass {
            failures: error.failures(&self.servers),
            // Generations only grow: the same at both ends is the same all the way.
            generation: published.filter(|_| self.published() == published),
            came_up: false,
        }
    }

    /// The credentials that this process holds for clients without their own.
    fn held(&self) -> &Authentication {
        let chosen = self.settings.authentication.as_ref();
        chosen
            .or(self.servers.credentials())
            .unwrap_or(&Authentication::CertificateOnly)
    }

    async fn try_all(&self, wish: &Wish, connect: Option<&Connect>) -> Result<Dialed, DialError> {
        let mut attempts = Vec::new();
        if let Some((address, server)) = wish.first.and_then(|peer| {
            let server = self.peers().server_of(peer)?;
            Some((peer, self.servers.addresses().get(server)?))
        }) {
            let until = Instant::now() + self.settings.connect_timeout;
            let dialled = self.try_address(server, address, until, connect).await;
            if let Some(dialed) = Self::judge(dialled, server, &mut attempts)? {
                return Ok(dialed);
            }
        }
        let order = self.peers().order(self.servers.len(), wish);
        for number in order {
            let Some(server) = self.servers.addresses().get(number) else {
                continue;
            };
            let dialled = self.try_server(server, wish, connect).await;
            if let Some(dialed) = Self::judge(dialled, server, &mut attempts)? {
                self.peers().remember(dialed.peer, number);
                return Ok(dialed);
            }
        }
        Err(DialError::Servers { attempts })
    }

    /// The connection, or nothing and one attempt more; an error if nobody else need be asked.
    fn judge(
        dialled: Result<Dialed, Ended>,
        server: &ServerAddr,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Option<Dialed>, DialError> {
        let server = server_label(server);
        let refusal = match dialled {
            Ok(dialed) => return Ok(Some(dialed)),
            Err(Ended::Hopeless(error)) => return Err(error),
            Err(Ended::Refused(refusal)) => refusal,
            // What was tried there already has said more.
            Err(Ended::NoOtherAddress) if attempts.iter().any(|it| it.server == server) => {
                return Ok(None);
            }
            Err(Ended::NoOtherAddress) => {
                Failure::unavailable("the name has no other address").into()
            }
        };
        debug!(server, cause = %refusal, "cannot connect upstream");
        attempts.push(Attempt { server, refusal });
        Ok(None)
    }

    /// Every address of one server, within one connect timeout, DNS included.
    async fn try_server(
        &self,
        server: &ServerAddr,
        wish: &Wish,
        connect: Option<&Connect>,
    ) -> Result<Dialed, Ended> {
        let until = Instant::now() + self.settings.connect_timeout;
        let resolved = timeout_at(until, lookup_host((server.host(), server.port())));
        let resolved = resolved.await.map_err(|_| silence())??;
        let addresses = order::addresses(resolved, wish);
        let mut last = Ended::NoOtherAddress;
        for (tried, address) in addresses.iter().enumerate() {
            // One that does not answer leaves the others their share.
            let left = until.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let until = Instant::now() + left / others;
            match self.try_address(server, *address, until, connect).await {
                Err(Ended::Refused(refusal)) => last = refusal.into(),
                decided => return decided,
            }
        }
        Err(last)
    }

    async fn try_address(
        &self,
        server: &ServerAddr,
        address: SocketAddr,
        until: Instant,
        connect: Option<&Connect>,
    ) -> Result<Dialed, Ended> {
        let attempt = async {
            let mut tries = 0;
            loop {
                tries += 1;
                let dialled = async {
                    let dialed = self.shake_hands(server, address).await?;
                    match connect {
                        Some(connect) => self.say_connect(dialed, connect).await,
                        None => Ok(dialed),
                    }
                };
                match dialled.await {
                    Err(Ended::Refused(refusal))
                        if refusal.is_cut_off() && tries < TRIES_WHEN_CUT_OFF =>
                    {
                        sleep(BETWEEN_TRIES.wait(tries)).await;
                    }
                    decided => return decided,
                }
            }
        };
        timeout_at(until, attempt)
            .await
            .unwrap_or_else(|_| Err(silence().into()))
    }

    async fn shake_hands(&self, server: &ServerAddr, address: SocketAddr) -> Result<Dialed, Ended> {
        let snapshot = self.store.active().ok_or(DialError::NoMaterial)?;
        let names = self.settings.names(&self.servers);
        let config = tls::with_names(&snapshot.client_config(), snapshot.material(), names);
        let (config, asked) = tls::noting(config);
        let name = ServerName::try_from(server.host().to_owned())
            .map_err(|_| Failure::unavailable("the host is no TLS name"))?;
        let socket = Socket::connect(address).await?;
        let peer = socket.peer()?;
        let greeted = handshake::greet(socket, config, name, self.settings.tls_first).await?;
        let shown = greeted.stream.get_ref().1.peer_certificates();
        let leaf = shown.and_then(<[_]>::first);
        let wire = Wire {
            snapshot,
            presented: asked.was(),
            server: leaf.map(|leaf| Arc::new(leaf.clone().into_owned())),
        };
        Ok(Dialed {
            stream: greeted.stream,
            info: greeted.info,
            info_json: greeted.info_json,
            unread: greeted.unread,
            peer,
            server: server_label(server),
            wire,
        })
    }

    async fn say_connect(&self, dialed: Dialed, connect: &Connect) -> Result<Dialed, Ended> {
        let nonce = dialed.info.nonce.as_deref();
        let completed = crate::relay::credentials::complete(connect, self.held(), nonce)
            .await
            .map_err(|error| DialError::Credentials(error.to_string()))?;
        let line = completed.as_ref().unwrap_or(connect).line();
        let dialed = handshake::introduce(dialed, &line).await?;
        self.store.confirm(&dialed.wire.snapshot);
        Ok(dialed)
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an attempt ended.
enum Ended {
    /// This server failed; another may not.
    Refused(Refusal),
    /// No server could do better.
    Hopeless(DialError),
    /// Every address of this server was tried before, or is to be avoided.
    NoOtherAddress,
}

impl<E: Into<Refusal>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl From<DialError> for Ended {
    fn from(error: DialError) -> Self {
        Self::Hopeless(error)
    }
}

fn silence() -> Refusal {
    Failure::unavailable("no answer in time").into()
}

#[cfg(test)]
mod tests;
