//! How a session ends: what its client is told, and how connections are closed.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};

use super::Serving;
use crate::relay::dial::UpstreamStream;
use crate::relay::link::moving::Moving;
use crate::relay::link::port::Port;
use crate::relay::protocol::{InfoRewrite, rewrite_info};
use crate::relay::report::HandoverReason;

/// For what was written to leave before a connection is closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For a client that was told that its server is about to go.
const TIME_TO_LEAVE: Duration = Duration::from_secs(5);

impl Serving {
    /// The client has to come again by itself.
    pub(super) fn fall_back(&mut self, reason: HandoverReason, detail: &str) {
        warn!(
            session = %self.admission.id, peer = %self.admission.peer, reason = reason.as_str(), detail,
            "relay: the client is told to leave, its certificate is about to expire"
        );
        self.shared.board.handover_fell_back(reason, detail);
        self.tell_to_leave();
        self.moving = Moving::leave_within(TIME_TO_LEAVE);
    }

    /// What a server says that is about to shut down.
    pub(super) fn tell_to_leave(&mut self) {
        let rewrite = InfoRewrite {
            lame_duck: Some(true),
            ..self.shared.info_rewrite()
        };
        if self.connect.understands_info()
            && let Ok(line) = rewrite_info(&self.here.info_json, &rewrite)
        {
            self.pump.tell(&line);
        }
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
        let farewell = async {
            for connection in upstream {
                connection.close().await.ok();
            }
            client.close().await.ok();
        };
        timeout(LAST_WORDS, farewell).await.ok();
    }
}
