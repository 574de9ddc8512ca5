//! How a session ends: what its client is told, and how connections are closed.

use std::time::Duration;

use futures_util::future;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Flow, Serving};
use crate::relay::dial::UpstreamStream;
use crate::relay::link::leaving::Leaving;
use crate::relay::link::moving::Moving;
use crate::relay::link::port::{Port, Stream};
use crate::relay::pace::Permit;
use crate::relay::report::HandoverReason;

/// For what was written to leave before a connection is closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For a client that was told that its server is about to go.
const TIME_TO_LEAVE: Duration = Duration::from_secs(5);
/// For what is on its way when the relay ends; less than the door waits for its sessions.
pub(super) const LAST_OPERATION: Duration = Duration::from_secs(1);

impl Serving {
    /// The settings want the client to connect again by itself: it is told, and closed a while later, few at once.
    pub(super) fn reconnect(&mut self, permit: Permit) -> Flow {
        let detail = "the settings ask for a reconnect at each rotation";
        if self.is_told {
            let limit = self.shared.settings.step_limit;
            return self.begin_farewell(Some(permit), limit);
        }
        if permit.is_forced() {
            self.fall_back(HandoverReason::Configured, detail);
            return Flow::GoOn;
        }
        debug!(session = %self.admission.id, peer = %self.admission.peer, "relay: the client is told to reconnect");
        let board = &self.shared.board;
        board.handover_fell_back(HandoverReason::Configured, detail);
        self.tell_to_leave();
        self.pace.told(permit, TIME_TO_LEAVE);
        Flow::GoOn
    }

    /// The client has to come again by itself, soon.
    pub(super) fn fall_back(&mut self, reason: HandoverReason, detail: &str) {
        warn!(
            session = %self.admission.id, peer = %self.admission.peer, reason = reason.as_str(), detail,
            "relay: the client is told to leave, its certificate is about to expire"
        );
        self.shared.board.handover_fell_back(reason, detail);
        if let Some(far) = &self.far {
            far.leaves();
        }
        self.tell_to_leave();
        self.leaving = Leaving::told(TIME_TO_LEAVE);
    }

    /// What a server says that is about to shut down.
    pub(super) fn tell_to_leave(&mut self) {
        self.is_told = true;
        // What the server said was read once before.
        if let Err(error) = self.pump.tell_to_leave(&self.here.info_json) {
            debug!(session = %self.admission.id, %error, "relay: the client cannot be told to leave");
        }
    }

    /// The client's last operation is confirmed and what the server still has for it delivered, within the limit.
    pub(super) fn begin_farewell(&mut self, permit: Option<Permit>, limit: Duration) -> Flow {
        match self.moving.take() {
            // Nothing can be on its way.
            Moving::Outage { .. } => return Flow::End,
            Moving::Dialing { .. } => {}
            moving => self.moving = moving,
        }
        self.pump.begin_farewell();
        self.leaving = Leaving::last_bytes(limit, permit);
        Flow::GoOn
    }

    pub(super) fn tell_error(&mut self, text: &str) {
        self.pump.tell(format!("-ERR '{text}'\r\n").as_bytes());
    }

    /// Closes a connection the session has left, in its own time.
    pub(super) fn close(&self, retired: Port<UpstreamStream>) {
        let id = self.admission.id;
        tokio::spawn(async move {
            match timeout(LAST_WORDS, retired.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(session = %id, %error, "relay: the former connection broke");
                }
                Err(_) => debug!(session = %id, "relay: the former connection did not end in time"),
            }
        });
    }

    pub(super) async fn end(self) {
        let (client, upstream) = self.pump.into_sides();
        close_all(client, upstream).await;
    }
}

/// Each in its own time: a server that takes nothing must not cost the client its last words.
async fn close_all<C: Stream, U: Stream>(client: Port<C>, upstream: Vec<Port<U>>) {
    let upstream = upstream
        .into_iter()
        .map(|connection| timeout(LAST_WORDS, connection.close()));
    let (client, upstream) = future::join(
        timeout(LAST_WORDS, client.close()),
        future::join_all(upstream),
    )
    .await;
    // They are closed in any case.
    drop((client, upstream));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_nothing_does_not_cost_the_client_its_last_words() {
        let (server, _stuck) = duplex(16);
        let mut server = Port::new(server, b"");
        server.append(&[b'x'; 1024]);
        let (client, mut heard) = duplex(1024);
        let mut client = Port::new(client, b"");
        client.append(b"-ERR 'Stale Connection'\r\n");
        let hears = async {
            let mut words = String::new();
            heard.read_to_string(&mut words).await.unwrap();
            drop(heard);
            words
        };
        let ((), words) = tokio::join!(close_all(client, vec![server]), hears);
        assert_eq!(words, "-ERR 'Stale Connection'\r\n");
    }

    #[tokio::test]
    async fn last_words_arrive_although_more_was_said() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (accepted, _)) = (client.unwrap(), accepted.unwrap());
        let words = vec![b'x'; 8 * 1024 * 1024];
        let mut port = Port::new(accepted, b"");
        port.append(&words);
        client.write_all(b"more that nobody reads").await.unwrap();
        let closing = tokio::spawn(close_all(port, Vec::<Port<TcpStream>>::new()));
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        drop(client);
        assert_eq!(heard.len(), words.len());
        closing.await.unwrap();
    }
}
