//! The door: binds, lets clients in up to the limit, and ends when it is told to.
//!
//! Owns the listening socket and the tasks of the sessions. What a session does is not its matter.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::relay::admission::{Admission, Ending, SessionId, Stage};
use crate::relay::link;
use crate::relay::report::SessionResult;
use crate::relay::settings::RelaySettings;
use crate::relay::shared::Shared;

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Whoever reaches the address would act under this process's TLS identity.
    #[error(
        "{address} is not a loopback address, and clients need no credentials there: listen on \
         127.0.0.1, ask for local credentials, or allow it explicitly"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Another process, perhaps a NATS server, listens there.
    #[error("{address} is in use; end what listens there, or choose another port")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused it for another reason.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What nats-server answers when it is full.
const FULL: &[u8] = b"-ERR 'maximum connections exceeded'\r\n";
/// While the system has no file descriptor left, or no memory.
const WHEN_EXHAUSTED: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
/// For sessions to end after they were told to: to let through what is on its way, and to close. What still runs then is
/// cut.
const LAST_WORDS: Duration = Duration::from_millis(2500);

/// Refuses an address that would let strangers in.
pub(super) async fn bind(settings: &RelaySettings) -> Result<TcpListener, ListenError> {
    let address = settings.listen;
    let is_guarded =
        address.ip().is_loopback() || settings.unsafe_listen || settings.local.is_some();
    if !is_guarded {
        return Err(ListenError::NotLoopback { address });
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Refused { address, source },
        })
}

/// Serves until `stage` says so, and says whether every session had ended by itself.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) shared: Arc<Shared>,
    pub(super) stage: watch::Sender<Stage>,
}

impl Door {
    pub(super) async fn serve(self) -> bool {
        let mut ending = Ending(self.stage.subscribe());
        let mut sessions = JoinSet::new();
        tokio::select! {
            () = self.let_in(&mut sessions) => {}
            () = ending.draining() => {}
        }
        // Closes the port: clients that come now are refused, and try elsewhere.
        let Self {
            listener,
            shared,
            stage,
        } = self;
        drop(listener);
        let limit = shared.settings.drain_limit;
        info!(sessions = sessions.len(), ?limit, "relay: draining");
        let until = Instant::now() + limit;
        let by_itself = timeout_at(until, all(&mut sessions)).await.is_ok();
        if !by_itself {
            warn!(sessions = sessions.len(), "relay: not left in time: closed");
        }
        stage.send_replace(Stage::Closing);
        let until = Instant::now() + LAST_WORDS;
        if timeout_at(until, all(&mut sessions)).await.is_err() {
            sessions.shutdown().await;
        }
        by_itself
    }

    async fn let_in(&self, sessions: &mut JoinSet<()>) {
        let mut number = 0;
        let mut failures = 0;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(ended) = sessions.join_next() => {
                    note(ended);
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    number += 1;
                    self.admit(stream, peer, SessionId(number), sessions);
                }
                // The client's fault, or bad luck: the next one has nothing to do with it.
                Err(error) if is_of_one_client(&error) => debug!(%error, "relay: not accepted"),
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        warn!(
                            %error, sessions = sessions.len(),
                            "relay: cannot accept clients; raise the limit of open files, or lower that of sessions"
                        );
                    }
                    sleep(WHEN_EXHAUSTED.wait(failures)).await;
                }
            }
        }
    }

    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        id: SessionId,
        sessions: &mut JoinSet<()>,
    ) {
        if sessions.len() >= self.shared.settings.limits.sessions {
            self.shared.board.count_session(SessionResult::Limit);
            let limit = self.shared.settings.limits.sessions;
            debug!(%peer, limit, "relay: full");
            // A fresh connection takes these few bytes, or nobody wants to know.
            stream.try_write(FULL).ok();
            return;
        }
        let ending = Ending(self.stage.subscribe());
        let admission = Admission::new(id, peer, ending, &self.shared.board, &self.shared.accepted);
        let shared = Arc::clone(&self.shared);
        sessions.spawn(link::run(stream, admission, shared));
    }
}

async fn all(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.join_next().await {
        note(ended);
    }
}

/// A session that panics takes nobody with it.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "relay: a session ended by a bug");
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
