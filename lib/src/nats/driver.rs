//! The task of one connection: looks at the client, feeds the state machines, does what they say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::clock;
use crate::material::MaterialDigest;
use crate::nats::arrival::Arrival;
use crate::nats::cause::Cause;
use crate::nats::connection::Request;
use crate::nats::event::ConnectionEvent;
use crate::nats::failure::FailureKind;
use crate::nats::farewell::Farewell;
use crate::nats::journal::Observation;
use crate::nats::passes::{Pass, Refusals};
use crate::nats::pulse::pulse;
use crate::nats::registry::Registration;
use crate::nats::rotation::{Link, Rotation, Step};
use crate::nats::story::Story;
use crate::nats::wires::Wires;
use crate::reload::{Command, RollbackReason};
use crate::store::{Generation, Store};
use crate::tls::{SerialConfig, TlsVersions, Wire};

/// Between two looks at the client when nothing was heard: events may have been dropped.
const LOOK: Duration = Duration::from_secs(1);
/// The same while something is about to happen.
const LOOK_CLOSELY: Duration = Duration::from_millis(20);
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
    generation: watch::Receiver<Generation>,
    rotation: Rotation,
    story: Story,
    farewell: Farewell,
    refusals: Refusals,
    work: Option<Work>,
    pulse: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    turn: Option<OwnedSemaphorePermit>,
    moving_since: Option<Instant>,
    /// The material this connection came up on last.
    came_up_on: Option<MaterialDigest>,
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
        mut registration: Registration,
        shared: Shared,
        wires: Wires,
        ends: Ends,
    ) -> Self {
        registration.drive();
        let mut generation = shared.store.subscribe();
        let target = *generation.borrow_and_update();
        let failed_before = registration.look(|report| report.totals.failed_attempts);
        Self {
            client,
            serial,
            registration,
            shared,
            wires,
            requests: ends.requests,
            generation,
            rotation: Rotation::new(target),
            story: Story::new(ends.events, ends.epoch, failed_before),
            farewell: Farewell::default(),
            refusals: Refusals::default(),
            work: None,
            pulse: None,
            turn: None,
            moving_since: None,
            came_up_on: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next_pulse = tokio::time::Instant::now() + PULSE;
        loop {
            self.look();
            self.step();
            if self.story.is_closed() {
                // Stays registered, so that the probes see it, until the handle is dropped.
                while self.requests.recv().await.is_some() {}
                return;
            }
            if self.is_given_up() {
                return;
            }
            self.give_way();
            let look = if self.moving_since.is_some() || self.farewell.is_awaited() {
                LOOK_CLOSELY
            } else {
                LOOK
            };
            tokio::select! {
                done = next_or_never(&mut self.work) => self.finish(done),
                alive = next_or_never(&mut self.pulse) => {
                    if !alive {
                        self.story.handle_closed(now());
                    }
                }
                Ok(()) = self.generation.changed() => {
                    let generation = *self.generation.borrow_and_update();
                    self.rotation.handle_published(generation);
                    self.refusals.forget();
                }
                Some(event) = self.wires.events.recv() => self.hear(&event),
                Some(pass) = self.wires.passes.recv() => self.see_pass(&pass),
                Some(Request::Drain) = self.requests.recv() => self.drain(),
                () = tokio::time::sleep(look) => {}
                () = tokio::time::sleep_until(next_pulse), if self.pulse.is_none() => {
                    next_pulse = tokio::time::Instant::now() + PULSE;
                    self.pulse = Some(pulse(self.client.clone()));
                }
            }
        }
    }

    /// The end was asked for, the handle is gone, and there is no connection that could be drained.
    fn is_given_up(&self) -> bool {
        self.wires.over.load(Ordering::Relaxed)
            && self.requests.is_closed()
            && self.client.connection_state() != State::Connected
    }

    /// A move that became an outage is an outage: others need not wait for it.
    fn give_way(&mut self) {
        if self
            .moving_since
            .is_some_and(|since| now().saturating_duration_since(since) > LONGEST_TURN)
        {
            self.moving_since = None;
            self.turn = None;
            self.wires.moving.store(false, Ordering::Relaxed);
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
        let wire = self.serial.wire();
        if before != observe() {
            return; // The next look sees where it ended.
        }
        while let Ok(event) = self.wires.events.try_recv() {
            self.hear(&event);
        }
        let now = now();
        let up = match (before, wire) {
            ((true, connects), Some(wire)) => Some((connects, wire)),
            _ => None,
        };
        let link = up.as_ref().map_or(Link::Down, |(connects, wire)| Link::Up {
            connects: *connects,
            generation: wire.snapshot.generation(),
        });
        self.rotation.handle_link(link);
        let seen = match link {
            Link::Up { .. } => {
                self.farewell.handle_up();
                Some(now)
            }
            Link::Down => self.farewell.handle_down(now),
        };
        if let Some(seen) = seen {
            self.story.handle_link(link, seen);
        }
        let arrival = up.and_then(|(connects, wire)| {
            self.refusals.forget();
            let arrival = Arrival::of(&self.client, &self.registration, connects, &wire)?;
            self.shared.store.confirm(&wire.snapshot);
            self.came_up_on = Some(wire.snapshot.material().digest());
            self.greet(&arrival, &wire, now);
            Some(arrival)
        });
        let failed = self.wires.failed_attempts();
        self.story.tell(&self.registration, failed, arrival, now);
    }

    fn greet(&self, arrival: &Arrival, wire: &Wire, now: Instant) {
        let (known, presented) = self
            .registration
            .look(|report| (report.generation, report.presented));
        if !arrival.presented() && presented != Some(false) {
            let component = &self.registration.settings.component;
            warn!(
                component,
                "the server asked for no client certificate: its rotation has no effect there"
            );
        }
        let moved = known.is_some_and(|known| known < arrival.generation());
        if let Some(seen) = wire.snapshot.change_seen().filter(|_| moved) {
            let duration = now.saturating_duration_since(seen);
            self.registration
                .observe(Observation::Rotation { duration });
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
                    self.moving_since = None;
                    self.wires.moving.store(false, Ordering::Relaxed);
                    self.story.handle_move_over();
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
        self.moving_since = Some(now());
        self.wires.moving.store(true, Ordering::Relaxed);
        let rollback = self
            .shared
            .store
            .active()
            .is_some_and(|active| active.rolled_back_from().is_some());
        self.story.handle_intent(if self.rotation.is_leaving() {
            Cause::LameDuck
        } else if rollback {
            Cause::Rollback
        } else {
            Cause::Rotation
        });
    }

    /// Turns are a courtesy; the old certificate's expiry is a deadline.
    fn longest_turn(&self) -> Duration {
        let remaining = self.serial.wire().map(|wire| {
            let not_after = wire.snapshot.material().not_after();
            not_after.duration_since(clock::now()).unwrap_or_default()
        });
        remaining.map_or(LONGEST_TURN, |remaining| LONGEST_TURN.min(remaining / 2))
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::LameDuckMode => {
                self.story.handle_lame_duck();
                let discovered = self.client.try_server_info();
                let others = discovered.map_or(0, |info| info.connect_urls.len());
                // A lone server would only be dialled again.
                if self.registration.servers.len().max(others) > 1 {
                    self.rotation.handle_lame_duck();
                }
            }
            Event::ServerError(error) => {
                let message = error.to_string();
                warn!(
                    component = self.registration.settings.component,
                    message, "server error"
                );
                if let Some(cause) = Cause::of_server_error(error) {
                    self.story.handle_hint(cause, now());
                }
            }
            Event::Disconnected => self.farewell.handle_heard(),
            Event::Draining => self.story.handle_draining(),
            Event::Closed => self.story.handle_closed(now()),
            // Seen by looking.
            _ => {}
        }
    }

    fn see_pass(&mut self, pass: &Pass) {
        let component = &self.registration.settings.component;
        for (server, failure) in &pass.failures {
            warn!(component, server, cause = %failure, "reconnect attempt failed");
        }
        let configured = pass.of_configured(&self.registration.servers);
        let told = configured.failures.first().or(pass.failures.last());
        if let Some((server, failure)) = told {
            self.registration
                .update(|report| report.last_error = Some(format!("{server}: {failure}")));
        }
        let generation = *self.generation.borrow();
        // What once worked here is not the material's fault now.
        let active = self.shared.store.active();
        let active = active.map(|active| active.material().digest());
        let worked_before = active.is_some() && self.came_up_on == active;
        if worked_before || pass.generation != Some(generation) {
            self.refusals.forget();
        } else if let Some((server, failure)) = self.refusals.count(&configured) {
            let detail = format!("{server}: {failure}");
            let reason = match failure.kind {
                FailureKind::Authorization => RollbackReason::Auth,
                _ => RollbackReason::Tls,
            };
            // A full queue means that the reload task is busy; the next pass tells it again.
            let refused = Command::ConnectionRefused {
                generation,
                reason,
                detail,
            };
            self.shared.commands.try_send(refused).ok();
        }
    }

    fn drain(&mut self) {
        self.wires.over.store(true, Ordering::Relaxed);
        self.story.handle_draining();
        let client = self.client.clone();
        self.pulse = Some(Box::pin(async move { client.drain().await.is_ok() }));
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
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
