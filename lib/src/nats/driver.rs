//! The task of one connection: looks at the client, feeds the state machines, does what they say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::client::FlushErrorKind;
use async_nats::connection::State;
use async_nats::{Client, Event, ServerError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::clock;
use crate::nats::connection::Request;
use crate::nats::lifecycle::{Cause, ConnectionEvent, ConnectionState, Lifecycle};
use crate::nats::passes::Passes;
use crate::nats::registry::Registration;
use crate::nats::rotation::{Link, Rotation, Step};
use crate::nats::wires::Wires;
use crate::reload::Command;
use crate::store::{Generation, Store};
use crate::tls::{SerialConfig, TlsVersions};

/// Between two looks at the client when nothing was heard: events may have been dropped.
const LOOK: Duration = Duration::from_secs(1);
/// The same while a move is under way.
const LOOK_WHILE_MOVING: Duration = Duration::from_millis(20);
/// Between two proofs that the client still takes commands.
const PULSE: Duration = Duration::from_secs(5);
/// A connection waits no longer than this for the others of its process to move first.
const LONGEST_TURN: Duration = Duration::from_secs(10);

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

enum Done {
    Turn(Option<OwnedSemaphorePermit>),
    Flushed,
    Asked(bool),
}

/// What every driver of a manager shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) versions: TlsVersions,
    /// One permit: connections of a process move one after the other.
    pub(crate) turns: Arc<Semaphore>,
}

/// See the module documentation.
pub(crate) struct Driver {
    client: Client,
    serial: SerialConfig,
    registration: Registration,
    shared: Shared,
    wires: Wires,
    requests: mpsc::Receiver<Request>,
    events: broadcast::Sender<ConnectionEvent>,
    epoch: watch::Sender<u64>,
    generation: watch::Receiver<Generation>,
    rotation: Rotation,
    lifecycle: Lifecycle,
    passes: Passes,
    work: Option<Work>,
    pulse: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    turn: Option<OwnedSemaphorePermit>,
}

/// The ends of the channels between a driver and its handle.
pub(crate) struct Ends {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: broadcast::Sender<ConnectionEvent>,
    pub(crate) epoch: watch::Sender<u64>,
}

impl Driver {
    pub(crate) fn new(
        client: Client,
        serial: SerialConfig,
        registration: Registration,
        shared: Shared,
        wires: Wires,
        ends: Ends,
    ) -> Self {
        let mut generation = shared.store.subscribe();
        let target = *generation.borrow_and_update();
        Self {
            client,
            serial,
            registration,
            shared,
            wires,
            requests: ends.requests,
            events: ends.events,
            epoch: ends.epoch,
            generation,
            rotation: Rotation::new(target),
            lifecycle: Lifecycle::new(),
            passes: Passes::default(),
            work: None,
            pulse: None,
            turn: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next_pulse = tokio::time::Instant::now() + PULSE;
        loop {
            self.look();
            self.step();
            if self.lifecycle.state() == ConnectionState::Closed {
                // Stays registered, so that the probes see it, until the handle is dropped.
                return std::future::pending().await;
            }
            let look = if self.rotation.is_moving() {
                LOOK_WHILE_MOVING
            } else {
                LOOK
            };
            tokio::select! {
                done = next_or_never(&mut self.work) => self.finish(done),
                alive = next_or_never(&mut self.pulse) => {
                    if !alive {
                        self.lifecycle.handle_closed();
                    }
                }
                Ok(()) = self.generation.changed() => {
                    let generation = *self.generation.borrow_and_update();
                    self.rotation.handle_published(generation);
                    self.passes.forget_refusals();
                }
                Some(event) = self.wires.events.recv() => self.hear(&event),
                Some(servers) = self.wires.passes.recv() => self.see_pass(&servers),
                Some(Request::Drain) = self.requests.recv() => self.drain(),
                () = tokio::time::sleep(look) => {}
                () = tokio::time::sleep_until(next_pulse), if self.pulse.is_none() => {
                    next_pulse = tokio::time::Instant::now() + PULSE;
                    self.pulse = Some(pulse(self.client.clone()));
                }
            }
        }
    }

    /// Observes the client. The handshake belongs to the connection only if nothing changed
    /// while both were read.
    fn look(&mut self) {
        let statistics = self.client.statistics();
        let observe = || {
            let connected = self.client.connection_state() == State::Connected;
            (connected, statistics.connects.load(Ordering::SeqCst))
        };
        let before = observe();
        let handshake = self.serial.last_handshake();
        if before != observe() {
            return; // The next look sees where it ended.
        }
        let link = match (before, &handshake) {
            ((true, connects), Some(handshake)) => Link::Up {
                connects,
                generation: handshake.generation,
            },
            _ => Link::Down,
        };
        self.rotation.handle_link(link);
        self.lifecycle
            .handle_link(link, tokio::time::Instant::now().into_std());
        if let Link::Up {
            connects,
            generation,
        } = link
        {
            self.passes.forget_refusals();
            self.show_up(
                connects,
                generation,
                handshake.is_some_and(|it| it.presented),
            );
        }
        self.show_events();
    }

    fn show_up(&self, connects: u64, generation: Generation, presented: bool) {
        let report = self.registration.report();
        if report.connects == connects && report.generation == Some(generation) {
            return;
        }
        let server = self
            .client
            .try_server_info()
            .map(|info| self.registration.servers.label_of(&info.host, info.port));
        self.registration.update(|report| {
            report.server = server;
            report.connects = connects;
            report.generation = Some(generation);
            report.presented = Some(presented);
            report.last_error = None;
        });
        if !presented && report.presented != Some(false) {
            let component = &self.registration.settings.component;
            warn!(
                component,
                "the server asked for no client certificate: its rotation has no effect there"
            );
        }
        if let Some(common) = self.registration.registry().common_generation() {
            self.shared.store.confirm(common);
        }
    }

    fn show_events(&mut self) {
        let component = &self.registration.settings.component;
        while let Some(event) = self.lifecycle.poll_event() {
            match event {
                ConnectionEvent::Connected { generation } => {
                    info!(component, %generation, "connected");
                }
                ConnectionEvent::Disconnected { cause } => {
                    info!(component, cause = cause.as_str(), "disconnected");
                }
                ConnectionEvent::Reconnected {
                    outage,
                    cause,
                    generation,
                } => {
                    self.epoch.send_modify(|epoch| *epoch += 1);
                    info!(
                        component, cause = cause.as_str(), %generation,
                        outage_milliseconds = outage.as_millis(), "reconnected"
                    );
                }
                ConnectionEvent::Closed if self.lifecycle.is_draining() => {
                    info!(component, "drained and closed");
                }
                ConnectionEvent::Closed => {
                    warn!(component, "closed for good; only a restart brings it back");
                }
            }
            // Nobody may be listening.
            self.events.send(event).ok();
        }
        let state = self.lifecycle.state();
        if self.registration.report().state != state {
            self.registration.update(|report| {
                report.state = state;
                report.since = clock::now();
            });
        }
    }

    fn step(&mut self) {
        while let Some(step) = self.rotation.poll() {
            match step {
                Step::TakeTurn => {
                    let turns = Arc::clone(&self.shared.turns);
                    let limit = self.longest_turn();
                    self.work = Some(Box::pin(async move {
                        let turn = timeout(limit, turns.acquire_owned()).await;
                        Done::Turn(turn.ok().and_then(Result::ok))
                    }));
                }
                Step::Flush => {
                    let client = self.client.clone();
                    let limit = self.registration.settings.flush_limit;
                    self.work = Some(Box::pin(async move {
                        // Best effort: a saturated connection does not finish, and must move all the same.
                        timeout(limit, client.flush()).await.ok();
                        Done::Flushed
                    }));
                }
                Step::Reconnect => {
                    self.announce_move();
                    let client = self.client.clone();
                    let limit = self.registration.settings.flush_limit;
                    self.work = Some(Box::pin(async move {
                        let asked = timeout(limit, client.force_reconnect()).await;
                        Done::Asked(matches!(asked, Ok(Ok(()))))
                    }));
                }
                Step::Finish => {
                    self.wires.moving.store(false, Ordering::Relaxed);
                    self.work = None;
                    self.turn = None;
                }
            }
        }
    }

    fn finish(&mut self, done: Done) {
        self.work = None;
        match done {
            Done::Turn(turn) => {
                self.turn = turn;
                self.rotation.handle_turn();
            }
            Done::Flushed => self.rotation.handle_flushed(),
            Done::Asked(true) => {}
            Done::Asked(false) => self.rotation.handle_not_asked(),
        }
    }

    fn announce_move(&mut self) {
        self.wires.moving.store(true, Ordering::Relaxed);
        let rollback = self
            .shared
            .store
            .active()
            .is_some_and(|active| active.rolled_back_from().is_some());
        self.lifecycle.handle_intent(if self.rotation.is_leaving() {
            Cause::LameDuck
        } else if rollback {
            Cause::Rollback
        } else {
            Cause::Rotation
        });
    }

    /// Turns are a courtesy; the old certificate's expiry is a deadline.
    fn longest_turn(&self) -> Duration {
        let confirmed = self.shared.store.confirmed();
        let remaining = confirmed.map(|snapshot| {
            let not_after = snapshot.material().not_after();
            not_after.duration_since(clock::now()).unwrap_or_default()
        });
        remaining.map_or(LONGEST_TURN, |remaining| LONGEST_TURN.min(remaining / 2))
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::LameDuckMode => {
                self.lifecycle.handle_hint(Cause::ServerShutdown);
                if self.registration.servers.len() > 1 {
                    self.rotation.handle_lame_duck();
                }
            }
            Event::ServerError(error) => {
                let message = error.to_string();
                warn!(
                    component = self.registration.settings.component,
                    message, "server error"
                );
                let cause = match error {
                    ServerError::AuthorizationViolation => Some(Cause::Auth),
                    ServerError::SlowConsumer(_) => Some(Cause::SlowConsumer),
                    ServerError::Other(message) => Cause::of_server_error(message),
                };
                if let Some(cause) = cause {
                    self.lifecycle.handle_hint(cause);
                }
            }
            Event::Draining => self.lifecycle.handle_draining(),
            Event::Closed => self.lifecycle.handle_closed(),
            // Seen by looking.
            _ => {}
        }
    }

    fn see_pass(&mut self, servers: &[async_nats::Server]) {
        let pass = self.passes.handle_servers(servers);
        let Some((server, failure)) = pass.failures.last() else {
            return;
        };
        let component = &self.registration.settings.component;
        warn!(component, server, cause = %failure, "reconnect attempt failed");
        self.registration
            .update(|report| report.last_error = Some(format!("{server}: {failure}")));
        let generation = *self.generation.borrow();
        let tried = self
            .serial
            .last_handshake()
            .map(|handshake| handshake.generation);
        if tried != Some(generation) {
            self.passes.forget_refusals();
        } else if let Some((server, failure)) = self.passes.count_refusal(&pass) {
            let detail = format!("{server}: {failure}");
            // A full queue means that the reload task is busy; the next pass tells it again.
            let refused = Command::ConnectionRefused { generation, detail };
            self.shared.commands.try_send(refused).ok();
        }
    }

    fn drain(&mut self) {
        self.lifecycle.handle_draining();
        let client = self.client.clone();
        self.pulse = Some(Box::pin(async move { client.drain().await.is_ok() }));
    }
}

/// Whether the client still takes commands. A client that gave up sends no event for it; only a
/// closed command channel shows. Without a limit, so that at most one such command waits in the
/// channel during an outage.
fn pulse(client: Client) -> Pin<Box<dyn Future<Output = bool> + Send>> {
    Box::pin(async move {
        match client.flush().await {
            Ok(()) => true,
            Err(error) => error.kind() != FlushErrorKind::SendError,
        }
    })
}

/// The output of the future in `slot`, which is then empty; pending for ever if it is empty.
async fn next_or_never<T>(slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match slot.as_mut() {
        Some(future) => {
            let output = future.await;
            *slot = None;
            output
        }
        None => std::future::pending().await,
    }
}
