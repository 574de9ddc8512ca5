//! A relay for one client of this process: on loopback, behind a secret that nobody else can know.
//! Whoever connects without it is turned away before any server hears of it.
//!
//! Owns what such a relay does otherwise: it greets before it dials, and tells the client's side
//! what the client cannot see. How it serves is that of every relay.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_nats::ServerAddr;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use tracing::debug;
use zeroize::Zeroizing;

use crate::crypto;
use crate::nats::{
    ConnectSettings, ConnectionError, FarWriter, Finished, Hop, Prepared, PrivateRelay, Secret,
    ServerList, far_end,
};
use crate::relay::dial::{DialError, Dialed, Wish};
use crate::relay::handle::Relay;
use crate::relay::limits::RelayLimits;
use crate::relay::listener;
use crate::relay::local::LocalCredentials;
use crate::relay::protocol::{Connect, ParseLimits};
use crate::relay::report::Board;
use crate::relay::settings::RelaySettings;
use crate::relay::shared::{Greeting, Shared};
use crate::store::Store;

/// Twice what nobody can guess.
const SECRET_BYTES: usize = 32;
/// One client, and whoever knocks at the wrong door meanwhile. Each costs the service two file
/// descriptors.
const SESSIONS: usize = 16;
/// For the last bytes of a client that has ended.
const DRAIN: Duration = Duration::from_secs(2);
const NO_GREETING: &[u8] = b"{\"server_id\":\"\",\"headers\":true,\"proto\":1}";

/// For whoever comes before any server was heard.
pub(crate) fn greeting() -> Greeting {
    Greeting {
        json: NO_GREETING.into(),
        max_payload: ParseLimits::client().max_payload,
    }
}

/// What the relay of one client of this process has besides.
pub(crate) struct Private {
    pub(crate) far: Arc<FarWriter>,
    /// Opened up to INFO, for the client that is about to come.
    opened: Mutex<Option<Dialed>>,
}

impl Private {
    fn new(far: FarWriter) -> Self {
        Self {
            far: Arc::new(far),
            opened: Mutex::default(),
        }
    }

    /// Opens a connection up to INFO, so that there is one to tell.
    async fn prepare(&self, shared: &Shared) -> Result<(), DialError> {
        let dialed = shared.dialer.open(&Wish::default()).await?;
        shared.greet_with(&dialed);
        *locked(&self.opened) = Some(dialed);
        Ok(())
    }

    /// The connection to a server for our client. One pass over the servers: the client, or the
    /// startup policy, says when there is another one.
    ///
    /// # Errors
    /// As [`Shared::join`].
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn connect(
        &self,
        shared: &Shared,
        connect: &Connect,
    ) -> Result<Dialed, DialError> {
        let opened = locked(&self.opened).take();
        if let Some(opened) = opened {
            match shared.dialer.introduce(opened, connect).await {
                Ok(dialed) => return Ok(dialed),
                // Another one may accept, and every one is asked again.
                Err(error) => debug!(%error, "relay: not accepted"),
            }
        }
        shared.join(&Wish::default(), connect).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the relay of one connection of this process.
///
/// # Errors
/// [`ConnectionError`]: the credentials cannot be used, there is no randomness, or no port.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub(crate) async fn open(
    store: Arc<Store>,
    servers: ServerList,
    upstream: ConnectSettings,
    board: Arc<Board>,
) -> Result<Hop, ConnectionError> {
    let held = upstream.authentication.as_ref();
    if let Some(held) = held.or(servers.credentials()) {
        held.validate()?;
    }
    let token = secret()?;
    let settings = RelaySettings::new()
        .listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
        .local_credentials(LocalCredentials::token(token.clone()))
        .limits(RelayLimits::new().sessions(SESSIONS))
        .spread(Duration::ZERO)
        .drain_limit(DRAIN)
        .upstream(upstream);
    let failed = |cause: String| ConnectionError::Relay(cause);
    let listener = listener::bind(&settings).await;
    let listener = listener.map_err(|error| failed(error.to_string()))?;
    let address = listener.local_addr();
    let address = address.map_err(|error| failed(error.to_string()))?;
    let url = format!("nats://{address}").parse::<ServerAddr>();
    let url = url.map_err(|error| failed(error.to_string()))?;
    debug!(%address, %servers, component = settings.upstream.component, "relay: private");
    board.begins();
    let (writer, reader) = far_end();
    let private = Some(Private::new(writer));
    let shared = Arc::new(Shared::private(store, servers, settings, board, private));
    let weak = Arc::downgrade(&shared);
    let relay = Arc::new(Relay::serve(listener, address, shared));
    Ok(Hop::new(url, token, reader, Arc::new(Own { relay, weak })))
}

/// A fresh one for each relay.
fn secret() -> Result<Secret, ConnectionError> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    let filled = crypto::provider().secure_random.fill(bytes.as_mut_slice());
    filled.map_err(|_| ConnectionError::Relay("the crypto provider has no randomness".into()))?;
    Ok(Secret::new(Base64UrlUnpadded::encode_string(
        bytes.as_slice(),
    )))
}

/// The relay as its client's side holds it.
struct Own {
    relay: Arc<Relay>,
    /// What it shares is gone when it has ended: the client's side is told by that.
    weak: Weak<Shared>,
}

impl PrivateRelay for Own {
    fn prepare(&self) -> Prepared<'_> {
        Box::pin(async {
            let Some(shared) = self.weak.upgrade() else {
                return Ok(()); // The client will find out.
            };
            let Some(private) = &shared.private else {
                return Ok(());
            };
            let published = shared.dialer.published();
            let prepared = private.prepare(&shared).await;
            prepared.map_err(|error| shared.dialer.pass(&error, published))
        })
    }

    fn finish(&self) -> Finished {
        let relay = Arc::clone(&self.relay);
        Box::pin(async move {
            relay.drain().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::nats::{FarClient, Place};
    use crate::relay::testbed::Testbed;
    use crate::tls::Wire;

    struct Nobody;

    impl PrivateRelay for Nobody {
        fn prepare(&self) -> Prepared<'_> {
            Box::pin(async { Ok(()) })
        }

        fn finish(&self) -> Finished {
            Box::pin(async {})
        }
    }

    /// A writer, its reader, and what a connection to one server looks like.
    fn both_ends() -> (Arc<FarWriter>, Hop, Place, Wire) {
        let (writer, reader) = far_end();
        let url = "nats://127.0.0.1:1".parse().unwrap();
        let hop = Hop::new(url, Secret::new("t"), reader, Arc::new(Nobody));
        let place = Place {
            server: Some("nats:4222".into()),
            server_id: Some("S".into()),
            client_id: Some(7),
        };
        let wire = Wire {
            snapshot: Testbed::new().publish(Duration::from_secs(60)),
            presented: true,
            server: None,
        };
        (Arc::new(writer), hop, place, wire)
    }

    #[test]
    fn a_move_is_no_outage_and_an_outage_is_one() {
        let (writer, hop, place, wire) = both_ends();
        let client = writer.came_up(place.clone(), wire.clone());
        client.did_not_move("handover: too slow".into());
        assert_eq!(hop.far().trouble.as_deref(), Some("handover: too slow"));
        client.moved(place.clone(), wire.clone());
        let far = hop.far();
        assert_eq!((far.connects, far.moves, far.trouble), (1, 1, None));
        client.went_down();
        assert!(hop.far().up.is_none());
        client.came_back(place, wire);
        let far = hop.far();
        assert_eq!((far.connects, far.moves), (2, 1));
        drop(client);
        assert!(hop.far().up.is_none());
    }

    #[test]
    fn a_client_that_was_followed_by_another_says_nothing_any_more() {
        let (writer, hop, place, wire) = both_ends();
        let former: FarClient = writer.came_up(place.clone(), wire.clone());
        let latter = writer.came_up(place, wire);
        former.leaves();
        drop(former);
        let far = hop.far();
        assert!(far.up.is_some() && !far.leaves);
        drop(latter);
        assert!(hop.far().up.is_none());
    }

    #[test]
    fn whoever_listens_at_the_address_of_a_relay_that_ended_is_not_dialled() {
        let (writer, hop, ..) = both_ends();
        assert!(!hop.over().load(Relaxed));
        drop(writer);
        assert!(hop.over().load(Relaxed));
    }

    #[test]
    fn each_relay_has_a_secret_of_its_own_that_nobody_guesses() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_ne!(one, other);
        // 32 bytes in base64, without padding.
        assert_eq!(one.expose().len(), 43);
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
