//! One session that is served: waits for what happens next, and decides what follows from it.

mod leave;
mod moves;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::arrival::Arrived;
use super::leaving::Leaving;
use super::moving::{Moving, ShortLived};
use super::port::Port;
use super::pump::{Outcome, Pump};
use super::{Here, patience, session_settings};
use crate::nats::FarClient;
use crate::relay::admission::{Admission, Ending};
use crate::relay::dial::{DialError, Dialed};
use crate::relay::pace::{Pace, Permit};
use crate::relay::protocol::Connect;
use crate::relay::report::HandoverReason;
use crate::relay::session::{ClientOptions, Event, Link, Loss, Session};
use crate::relay::shared::Shared;
use leave::LAST_OPERATION;
use moves::reason;

/// Whether the session goes on.
enum Flow {
    GoOn,
    End,
}

/// A session that is served.
pub(super) struct Serving {
    shared: Arc<Shared>,
    admission: Admission,
    connect: Arc<Connect>,
    pump: Pump,
    pace: Pace,
    here: Here,
    /// Tells this process's own client what it cannot see; none for clients of other processes.
    far: Option<FarClient>,
    moving: Moving,
    short_lived: ShortLived,
    leaving: Leaving,
    /// The client knows that it should go.
    is_told: bool,
    /// A server that asked its clients to leave.
    avoid: Option<SocketAddr>,
    /// How far the relay's own end has come.
    is_draining: bool,
    is_closing: bool,
}

/// What a session is woken by.
pub(super) enum Wake {
    Pump(Outcome),
    Permit(Permit),
    Dialed(Box<Result<Dialed, DialError>>),
    TimeToLeave,
    Overdue,
    Draining,
    Closing,
}

impl Serving {
    pub(super) fn new(arrived: Arrived, admission: Admission, shared: Arc<Shared>) -> Self {
        let info = arrived.dialed.info.clone();
        let (here, upstream) = Here::of(arrived.dialed);
        let connect = arrived.connect;
        let options = ClientOptions {
            verbose: connect.verbose(),
            echo: connect.echo(),
            understands_info: connect.understands_info(),
            headers: connect.headers(),
        };
        let session = Session::new(session_settings(&shared, &connect), options, &info);
        let client = Port::new(arrived.stream, &arrived.unread);
        let pump = Pump::new(session, client, upstream, patience(&shared), shared.meter());
        debug!(session = %admission.id, peer = %admission.peer, server = here.server, "relay: serving");
        let private = shared.private.as_ref();
        Self {
            far: private.map(|private| private.far.came_up(here.place(), here.wire.clone())),
            pace: shared.pacer.enter(&here.wire.snapshot),
            shared,
            admission,
            connect: Arc::new(connect),
            pump,
            here,
            moving: Moving::Idle,
            short_lived: ShortLived::new(),
            leaving: Leaving::No,
            is_told: false,
            avoid: None,
            is_draining: false,
            is_closing: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut ending = self.admission.ending.clone();
        loop {
            let wake = self.wake(&mut ending).await;
            let flow = match wake {
                Wake::Pump(outcome) => self.handle_pump(outcome),
                Wake::Permit(permit) => self.handle_permit(permit),
                Wake::Dialed(dialed) => self.handle_dialed(*dialed),
                Wake::TimeToLeave => {
                    let limit = self.shared.settings.step_limit;
                    self.begin_farewell(None, limit)
                }
                Wake::Overdue => {
                    info!(session = %self.admission.id, peer = %self.admission.peer, "relay: closed with something on its way");
                    Flow::End
                }
                Wake::Draining => {
                    self.is_draining = true;
                    self.tell_to_leave();
                    Flow::GoOn
                }
                Wake::Closing => {
                    self.is_closing = true;
                    self.begin_farewell(None, LAST_OPERATION)
                }
            };
            if let Some(retired) = self.pump.take_retired() {
                self.close(retired);
            }
            if let Flow::End = flow {
                break;
            }
        }
        self.end().await;
    }

    async fn wake(&mut self, ending: &mut Ending) -> Wake {
        let may_move =
            matches!(self.moving, Moving::Idle) && !self.leaving.is_decided() && !self.is_draining;
        let Self {
            pump,
            pace,
            moving,
            leaving,
            ..
        } = self;
        let mut closing = ending.clone();
        tokio::select! {
            outcome = poll_fn(|cx| pump.poll(cx)) => Wake::Pump(outcome),
            permit = pace.permit(), if may_move => Wake::Permit(permit),
            wake = moving.wake() => wake,
            wake = leaving.wake() => wake,
            () = ending.draining(), if !self.is_draining => Wake::Draining,
            () = closing.closing(), if !self.is_closing => Wake::Closing,
        }
    }

    fn handle_pump(&mut self, outcome: Outcome) -> Flow {
        let id = self.admission.id;
        match outcome {
            Outcome::Event(event) => return self.handle_event(event),
            Outcome::Lost(link, cause) => return self.handle_lost(link, &cause),
            Outcome::ClientLeft => debug!(session = %id, "relay: the client left"),
            Outcome::ClientBroke(error) => debug!(session = %id, %error, "relay: the client broke"),
            Outcome::ClientErred(error) => {
                info!(session = %id, peer = %self.admission.peer, %error, "relay: the client erred");
                self.tell_error(error.answer());
            }
            Outcome::ClientTooSlow => {
                let limit = self.shared.settings.limits.stall;
                warn!(session = %id, peer = %self.admission.peer, ?limit, "relay: the client is too slow");
                self.tell_error("Slow Consumer");
            }
            Outcome::ClientStale => {
                info!(session = %id, peer = %self.admission.peer, "relay: the client is stale");
                self.tell_error("Stale Connection");
            }
        }
        // Whichever way it went: there is nobody to be handed over any more.
        if let Moving::Dialing { .. } | Moving::HandingOver { .. } = self.moving {
            let detail = "the client was gone before its handover was over";
            let board = &self.shared.board;
            board.handover_failed(HandoverReason::ClientLeft, detail);
        }
        Flow::End
    }

    fn handle_event(&mut self, event: Event) -> Flow {
        match event {
            Event::Switched { stall } => self.handle_switched(stall),
            Event::Finished { unmatched } => {
                let unmatched = u64::try_from(unmatched).unwrap_or(u64::MAX);
                if unmatched > 0 {
                    warn!(session = %self.admission.id, unmatched, "relay: messages came on the former connection alone; please report it");
                    self.shared.board.copies_missing(unmatched);
                }
                if let Moving::Tail = self.moving {
                    self.moving = Moving::Idle;
                }
            }
            Event::GivenUp(abort) => {
                if let Some((permit, _)) = self.moving.take_handover() {
                    self.failed(permit, reason(&abort), &abort.to_string());
                }
            }
            Event::CloseClient(abort) => {
                let detail = format!("{abort}, where there was no way back");
                warn!(session = %self.admission.id, cause = detail, "relay: handover failed, client closed");
                self.shared.board.handover_failed(reason(&abort), detail);
                return Flow::End;
            }
            Event::LameDuck => {
                info!(session = %self.admission.id, server = self.here.server, "relay: the server asks its clients to leave");
                self.avoid = Some(self.here.peer);
                self.pace.leave();
            }
            Event::Drained => {
                debug!(session = %self.admission.id, "relay: nothing is on its way any more");
                return Flow::End;
            }
        }
        Flow::GoOn
    }

    fn handle_lost(&mut self, link: Link, cause: &str) -> Flow {
        let loss = self.pump.lose(link);
        if loss == Loss::Harmless {
            return Flow::GoOn;
        }
        self.shared
            .board
            .failed(format!("{}: {cause}", self.here.server));
        // The next connection will be under the newest certificate, whatever became of this move.
        if let Moving::HandingOver { .. } | Moving::Dialing { .. } = self.moving.take() {
            self.shared
                .board
                .handover_failed(HandoverReason::UpstreamLost, cause);
        }
        if let Some(far) = &self.far {
            far.went_down();
        }
        if loss == Loss::Fatal || self.connect.signed() || self.leaving.is_decided() {
            info!(session = %self.admission.id, server = self.here.server, cause, "relay: upstream lost, client closed");
            return Flow::End;
        }
        info!(session = %self.admission.id, server = self.here.server, cause, "relay: upstream lost, connecting again");
        let row = self.short_lived.lost();
        self.moving = Moving::outage(&self.shared, &self.connect, row);
        Flow::GoOn
    }
}

#[cfg(test)]
mod tests;
