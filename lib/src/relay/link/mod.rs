//! The task of one session: lets the client in, keeps bytes moving, and does what a session cannot do without I/O: dial
//! for a handover, dial again after an outage, end in good order.

mod arrival;
mod moving;
mod port;
mod pump;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::relay::admission::{Admission, Ending};
use crate::relay::dial::{DialError, Dialed, UpstreamStream, Wish};
use crate::relay::pace::{Pace, Permit};
use crate::relay::protocol::{Connect, InfoRewrite, ParseLimits, rewrite_info};
use crate::relay::report::HandoverReason;
use crate::relay::session::{
    Abort, ClientOptions, Event, HandoverTiming, InterestLimits, Link, Loss, Move, Session,
    SessionSettings,
};
use crate::relay::settings::RotationMode;
use crate::relay::shared::Shared;
use crate::store::Snapshot;
use arrival::Arrived;
use moving::Moving;
use port::Port;
use pump::{Outcome, Patience, Pump, Retired};

/// For what was written to leave before a connection is closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For a client that was told that its server is about to go.
const TIME_TO_LEAVE: Duration = Duration::from_secs(5);
/// How long a server may still send copies after the change; 4 ms were seen.
const TAIL: Duration = Duration::from_millis(50);

/// Serves one client until either side ends.
pub(crate) async fn run(stream: TcpStream, mut admission: Admission, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let id = admission.id;
    let mut ending = admission.ending.clone();
    let arrived = tokio::select! {
        arrived = arrival::arrive(stream, &mut admission, &shared) => arrived,
        () = ending.closing() => return,
    };
    match arrived {
        Ok(Some(arrived)) => Serving::new(arrived, admission, shared).run().await,
        Ok(None) => {}
        Err(error) => debug!(session = %id, %error, "relay: the client left before it was served"),
    }
}

/// Where a session is connected.
struct Here {
    peer: SocketAddr,
    server: String,
    server_id: String,
    info_json: Vec<u8>,
    snapshot: Arc<Snapshot>,
}

impl Here {
    /// The connection's stream apart from what is known of it.
    fn of(dialed: Dialed) -> (Self, Port<UpstreamStream>) {
        let port = Port::new(dialed.stream, &dialed.unread);
        let here = Self {
            peer: dialed.peer,
            server: dialed.server,
            server_id: dialed.info.server_id,
            info_json: dialed.info_json,
            snapshot: dialed.snapshot,
        };
        (here, port)
    }
}

/// Whether the session goes on.
enum Flow {
    GoOn,
    End,
}

/// A session that is served.
struct Serving {
    shared: Arc<Shared>,
    admission: Admission,
    connect: Arc<Connect>,
    pump: Pump,
    pace: Pace,
    here: Here,
    moving: Moving,
    /// A server that asked its clients to leave.
    avoid: Option<SocketAddr>,
    is_draining: bool,
}

/// What a session is woken by.
enum Wake {
    Pump(Outcome),
    Permit(Permit),
    Dialed(Box<Result<Dialed, DialError>>),
    TimeToLeave,
    Draining,
    Closing,
}

impl Serving {
    fn new(arrived: Arrived, admission: Admission, shared: Arc<Shared>) -> Self {
        let info = arrived.dialed.info.clone();
        let (here, upstream) = Here::of(arrived.dialed);
        let connect = arrived.connect;
        let options = ClientOptions {
            verbose: connect.verbose(),
            echo: connect.echo(),
            understands_info: connect.understands_info(),
            headers: connect.headers(),
        };
        let session = Session::new(session_settings(&shared), options, &info);
        let client = Port::new(arrived.stream, &arrived.unread);
        let pump = Pump::new(session, client, upstream, patience(&shared), shared.meter());
        debug!(session = %admission.id, peer = %admission.peer, server = here.server, "relay: serving");
        Self {
            pace: shared.pacer.enter(&here.snapshot),
            shared,
            admission,
            connect: Arc::new(connect),
            pump,
            here,
            moving: Moving::Idle,
            avoid: None,
            is_draining: false,
        }
    }

    async fn run(mut self) {
        let mut ending = self.admission.ending.clone();
        loop {
            let wake = self.wake(&mut ending).await;
            let flow = match wake {
                Wake::Pump(outcome) => self.handle_pump(outcome),
                Wake::Permit(permit) => self.handle_permit(permit),
                Wake::Dialed(dialed) => self.handle_dialed(*dialed),
                Wake::TimeToLeave | Wake::Closing => {
                    self.pump.wait_for_rest();
                    self.moving = Moving::Closing;
                    Flow::GoOn
                }
                Wake::Draining => {
                    self.is_draining = true;
                    self.tell_to_leave();
                    Flow::GoOn
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
        let Self {
            pump, pace, moving, ..
        } = self;
        let may_move = matches!(moving, Moving::Idle) && !self.is_draining;
        let is_closing = matches!(moving, Moving::Closing);
        let mut closing = ending.clone();
        tokio::select! {
            outcome = poll_fn(|cx| pump.poll(cx)) => Wake::Pump(outcome),
            permit = pace.permit(), if may_move => Wake::Permit(permit),
            wake = moving.wake() => wake,
            () = ending.draining(), if !self.is_draining => Wake::Draining,
            () = closing.closing(), if !is_closing => Wake::Closing,
        }
    }

    fn handle_pump(&mut self, outcome: Outcome) -> Flow {
        let id = self.admission.id;
        match outcome {
            Outcome::Event(event) => return self.handle_event(event),
            Outcome::Lost(link, cause) => return self.handle_lost(link, &cause),
            Outcome::AtRest => return self.handle_rest(),
            Outcome::ClientLeft => {
                if let Moving::HandingOver { .. } = self.moving {
                    let detail = "the client left during its handover";
                    let board = &self.shared.board;
                    board.handover_failed(HandoverReason::ClientLeft, detail);
                }
                debug!(session = %id, "relay: the client left");
            }
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
        Flow::End
    }

    fn handle_event(&mut self, event: Event) -> Flow {
        match event {
            Event::Switched { stall } => self.handle_switched(stall),
            Event::Finished { unmatched } => {
                let unmatched = u64::try_from(unmatched).unwrap_or(u64::MAX);
                self.shared.board.copies_missing(unmatched);
                if let Moving::Tail = self.moving {
                    self.moving = Moving::Idle;
                }
            }
            Event::GivenUp(abort) => {
                if let Moving::HandingOver { permit, .. } = self.moving.take() {
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
        }
        Flow::GoOn
    }

    fn handle_switched(&mut self, stall: Duration) {
        if let Moving::HandingOver { permit, to } = self.moving.take() {
            self.pace.moved(permit, &to.snapshot);
            self.here = *to;
            self.avoid = None;
            self.moving = Moving::Tail;
            self.shared.board.handover_succeeded(stall);
            debug!(
                session = %self.admission.id, server = self.here.server, ?stall,
                generation = %self.here.snapshot.generation(), "relay: handed over"
            );
        }
    }

    fn handle_permit(&mut self, permit: Permit) -> Flow {
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
        if self.shared.settings.rotation == RotationMode::Reconnect {
            self.pump.wait_for_rest();
            self.moving = Moving::Waiting { permit };
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

    fn handle_dialed(&mut self, dialed: Result<Dialed, DialError>) -> Flow {
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
                self.pace = self.shared.pacer.enter(&here.snapshot);
                self.here = here;
                self.avoid = None;
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

    fn handle_lost(&mut self, link: Link, cause: &str) -> Flow {
        let loss = self.pump.lose(link);
        if loss == Loss::Harmless {
            return Flow::GoOn;
        }
        self.shared
            .board
            .failed(format!("{}: {cause}", self.here.server));
        if let Moving::HandingOver { permit, .. } | Moving::Dialing { permit, .. } =
            self.moving.take()
        {
            self.failed(permit, HandoverReason::UpstreamLost, cause);
        }
        if loss == Loss::Fatal || self.connect.signed() {
            info!(session = %self.admission.id, server = self.here.server, cause, "relay: upstream lost, client closed");
            return Flow::End;
        }
        info!(session = %self.admission.id, server = self.here.server, cause, "relay: upstream lost, connecting again");
        self.moving = Moving::outage(&self.shared, &self.connect);
        Flow::GoOn
    }

    fn handle_rest(&mut self) -> Flow {
        match self.moving.take() {
            Moving::Closing => return Flow::End,
            Moving::Waiting { permit } => {
                drop(permit);
                let detail = "the settings ask for a reconnect at each rotation";
                let board = &self.shared.board;
                board.handover_fell_back(HandoverReason::Configured, detail);
                if let Some(retired) = self.pump.take_current() {
                    self.close(retired);
                }
                return self.handle_lost(Link::Current, "rotation");
            }
            moving => self.moving = moving,
        }
        Flow::GoOn
    }

    /// The session is where it was. It tries again, or, if this was the last chance, the client is told to leave.
    fn failed(&mut self, permit: Permit, reason: HandoverReason, detail: &str) {
        let is_forced = permit.is_forced();
        warn!(
            session = %self.admission.id, peer = %self.admission.peer, reason = reason.as_str(), detail, is_forced,
            "relay: handover failed, the connection in use is kept"
        );
        self.shared.board.handover_failed(reason, detail);
        self.pace.failed(permit);
        if is_forced {
            self.fall_back(HandoverReason::Expiry, detail);
        }
    }

    /// The client has to come again by itself.
    fn fall_back(&mut self, reason: HandoverReason, detail: &str) {
        warn!(
            session = %self.admission.id, peer = %self.admission.peer, reason = reason.as_str(), detail,
            "relay: the client is told to leave, its certificate is about to expire"
        );
        self.shared.board.handover_fell_back(reason, detail);
        self.tell_to_leave();
        self.moving = Moving::leave_within(TIME_TO_LEAVE);
    }

    /// What a server says that is about to shut down.
    fn tell_to_leave(&mut self) {
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

    fn tell_error(&mut self, text: &str) {
        self.pump.tell(format!("-ERR '{text}'\r\n").as_bytes());
    }

    /// Closes a connection the session has left, in its own time.
    fn close(&self, retired: Retired) {
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

    async fn end(self) {
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

fn session_settings(shared: &Shared) -> SessionSettings {
    let limits = shared.settings.limits;
    SessionSettings {
        parse: ParseLimits {
            control_line: limits.control_line,
            ..ParseLimits::client()
        },
        interest: InterestLimits {
            subscriptions: limits.subscriptions,
            bytes: limits.interest,
        },
        timing: HandoverTiming {
            step: shared.settings.step_limit,
            tail: TAIL,
            route: shared.settings.route_wait,
        },
        info: shared.info_rewrite(),
        pending_bytes: limits.buffered,
    }
}

fn patience(shared: &Shared) -> Patience {
    let limits = shared.settings.limits;
    Patience {
        stall: limits.stall,
        idle: limits.idle,
        ping_interval: shared.settings.upstream.ping_interval,
        buffered: limits.buffered,
    }
}

fn reason(abort: &Abort) -> HandoverReason {
    match abort {
        Abort::Timeout => HandoverReason::Timeout,
        Abort::SubscriptionDenied { .. } => HandoverReason::SubscriptionDenied,
        Abort::Refused { .. } => HandoverReason::Refused,
        Abort::TooSlow => HandoverReason::SlowClient,
        Abort::NextLost | Abort::CurrentLost => HandoverReason::UpstreamLost,
    }
}
