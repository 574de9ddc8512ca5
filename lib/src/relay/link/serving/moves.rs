//! How a session moves: what is done with leave to move, with a connection that was opened for it, and when it fails.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{Flow, Serving};
use crate::relay::dial::{DialError, Dialed, Wish};
use crate::relay::link::Here;
use crate::relay::link::moving::Moving;
use crate::relay::pace::Permit;
use crate::relay::report::HandoverReason;
use crate::relay::session::{Abort, Move};
use crate::relay::settings::RotationMode;

impl Serving {
    pub(super) fn handle_switched(&mut self, stall: Duration) {
        if let Some((permit, to)) = self.moving.take_handover() {
            self.pace.moved(permit, &to.wire.snapshot);
            self.here = *to;
            if let Some(far) = &self.far {
                far.moved(self.here.place(), self.here.wire.clone());
            }
            self.avoid = None;
            self.moving = Moving::Tail;
            self.shared.board.handover_succeeded(stall);
            debug!(
                session = %self.admission.id, server = self.here.server, ?stall,
                generation = %self.here.wire.snapshot.generation(), "relay: handed over"
            );
        }
    }

    pub(super) fn handle_permit(&mut self, permit: Permit) -> Flow {
        if self.shared.settings.rotation == RotationMode::Reconnect {
            return self.reconnect(permit);
        }
        if self.connect.signed() {
            let detail = "the client signed the nonce of its connection: only it can connect again";
            if permit.is_forced() {
                self.fall_back(HandoverReason::SignedNonce, detail);
            } else {
                info!(
                    session = %self.admission.id, peer = %self.admission.peer, reason = detail,
                    "relay: stays on its connection until the certificate is about to expire; give the agent the credentials instead"
                );
                self.pace.impossible(permit);
            }
            return Flow::GoOn;
        }
        // On the same server it is exact and fast.
        let wish = Wish {
            first: Some(self.here.peer).filter(|peer| self.avoid != Some(*peer)),
            avoid: self.avoid,
        };
        self.moving = Moving::dial(permit, &self.shared, &self.connect, wish);
        Flow::GoOn
    }

    pub(super) fn handle_dialed(&mut self, dialed: Result<Dialed, DialError>) -> Flow {
        match (self.moving.take(), dialed) {
            (Moving::Dialing { permit, .. }, Ok(dialed)) => {
                let (to, upstream) = Here::of(dialed);
                let move_to = Move {
                    info: to.info_json.clone(),
                    is_same_server: to.server_id == self.here.server_id,
                    is_forced: permit.is_forced(),
                };
                self.pump.begin_handover(upstream, move_to);
                let to = Box::new(to);
                self.moving = Moving::HandingOver { permit, to };
            }
            (Moving::Dialing { permit, .. }, Err(error)) => {
                self.failed(permit, error.handover_reason(), &error.to_string());
            }
            (Moving::Outage { since, .. }, Ok(dialed)) => {
                let (here, upstream) = Here::of(dialed);
                if let Err(error) = self.pump.restore(upstream, &here.info_json) {
                    warn!(session = %self.admission.id, %error, "relay: the server cannot be used");
                    return Flow::End;
                }
                info!(
                    session = %self.admission.id, server = here.server, outage = ?since.elapsed(),
                    "relay: upstream is back"
                );
                self.pace = self.shared.pacer.enter(&here.wire.snapshot);
                if let Some(far) = &self.far {
                    far.came_back(here.place(), here.wire.clone());
                }
                self.here = here;
                self.avoid = None;
                self.short_lived.came_back();
            }
            (Moving::Outage { .. }, Err(error)) => {
                warn!(session = %self.admission.id, %error, "relay: refused upstream, client closed");
                self.shared.board.failed(error.to_string());
                self.tell_error(error.said().unwrap_or("no NATS server is available"));
                return Flow::End;
            }
            (moving, _) => self.moving = moving,
        }
        Flow::GoOn
    }

    /// The session is where it was, and tries again. If this was the last call and the client can help itself, it is told
    /// to leave; otherwise it is never taken from a server that serves it: nats-server does not cut a connection whose
    /// certificate has expired.
    pub(super) fn failed(&mut self, permit: Permit, reason: HandoverReason, detail: &str) {
        let is_forced = permit.is_forced();
        warn!(
            session = %self.admission.id, peer = %self.admission.peer, reason = reason.as_str(), detail, is_forced,
            "relay: handover failed, the connection in use is kept"
        );
        self.shared.board.handover_failed(reason, detail);
        if let Some(far) = &self.far {
            far.did_not_move(format!("handover: {detail}"));
        }
        self.pace.failed(permit);
        if is_forced && reason.ends_with_a_reconnect() && !self.leaving.is_decided() {
            self.fall_back(HandoverReason::Expiry, detail);
        }
    }
}

pub(super) fn reason(abort: &Abort) -> HandoverReason {
    match abort {
        Abort::Timeout => HandoverReason::Timeout,
        Abort::SubscriptionDenied { .. } => HandoverReason::SubscriptionDenied,
        Abort::Refused { .. } => HandoverReason::Refused,
        Abort::TooSlow | Abort::TooLarge => HandoverReason::SlowClient,
        Abort::NextLost | Abort::CurrentLost => HandoverReason::UpstreamLost,
    }
}
