//! The task of one connection: looks at the client, feeds the state machines, does what they say.

mod listening;
mod moving;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};
use tracing::warn;

use moving::{Done, Work};

use crate::material::MaterialDigest;
use crate::nats::arrival::Arrival;
use crate::nats::cause::Cause;
use crate::nats::connection::Request;
use crate::nats::event::ConnectionEvent;
use crate::nats::farewell::Farewell;
use crate::nats::journal::Observation;
use crate::nats::passes::{Pass, Refusals};
use crate::nats::pulse::pulse;
use crate::nats::registry::Registration;
use crate::nats::rotation::{Link, Rotation};
use crate::nats::story::Story;
use crate::nats::way::{self, Sight, Up, Way};
use crate::nats::wires::Wires;
use crate::reload::Command;
use crate::store::{Generation, Store};
use crate::tls::{TlsVersions, Wire};

/// Between two looks at the client when nothing was heard: events may have been dropped.
const LOOK: Duration = Duration::from_secs(1);
/// The same while something is about to happen.
const LOOK_CLOSELY: Duration = Duration::from_millis(20);
/// Between two proofs that the client still takes commands.
const PULSE: Duration = Duration::from_secs(5);

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
    way: Way,
    registration: Registration,
    shared: Shared,
    wires: Wires,
    requests: mpsc::Receiver<Request>,
    generation: watch::Receiver<Generation>,
    rotation: Rotation,
    story: Story,
    farewell: Farewell,
    refusals: Refusals,
    /// Passes that woke us; judged by the next look, as it may find that the client is up.
    heard: Vec<Pass>,
    work: Option<Work>,
    pulse: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    turn: Option<OwnedSemaphorePermit>,
    moving_since: Option<Instant>,
    /// The material this connection came up on last.
    came_up_on: Option<MaterialDigest>,
    /// The connection that is known: how often it came up and was moved, and its generation.
    known: Option<(u64, u64, Generation)>,
    /// The client has ended, and the rest of its way is being finished.
    is_finishing: bool,
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
        way: Way,
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
            way,
            registration,
            shared,
            wires,
            requests: ends.requests,
            generation,
            rotation: Rotation::new(target),
            story: Story::new(ends.events, ends.epoch, failed_before),
            farewell: Farewell::default(),
            refusals: Refusals::default(),
            heard: Vec::new(),
            work: None,
            pulse: None,
            turn: None,
            moving_since: None,
            came_up_on: None,
            known: None,
            is_finishing: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next_pulse = tokio::time::Instant::now() + PULSE;
        loop {
            self.look();
            self.step();
            if self.story.is_closed() {
                // Stays registered, so that the probes see it, until the handle is dropped.
                while let Some(Request::Drain) = self.requests.recv().await {}
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
                        self.close();
                    }
                }
                Ok(()) = self.generation.changed() => {
                    let generation = *self.generation.borrow_and_update();
                    self.rotation.handle_published(generation);
                    self.refusals.forget();
                }
                leads_on = self.way.changed() => {
                    if !leads_on {
                        self.story.handle_closed(now());
                    }
                }
                Some(event) = self.wires.events.recv() => self.hear(&event),
                Some(pass) = self.wires.passes.recv() => self.heard.push(pass),
                Some(request) = self.requests.recv() => match request {
                    Request::Drain => self.drain(),
                    Request::GiveUp => return self.registration.give_up(),
                },
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
        !self.is_finishing
            && self.wires.over.load(Ordering::Relaxed)
            && self.requests.is_closed()
            && self.client.connection_state() != State::Connected
    }

    /// Observes the connection.
    fn look(&mut self) {
        let Some(sight) = self.way.look(&self.client) else {
            return; // The next look sees where it ended.
        };
        while let Ok(event) = self.wires.events.try_recv() {
            self.hear(&event);
        }
        // What kept it down was told before it came up.
        let mut passes = std::mem::take(&mut self.heard);
        passes.extend(std::iter::from_fn(|| self.wires.passes.try_recv().ok()));
        for pass in &passes {
            self.hear_pass(pass);
        }
        let now = now();
        if self.way.leaves() {
            self.story.explanation().handle_intent(Cause::Rotation);
        }
        let link = match &sight {
            Sight::Down => Link::Down,
            Sight::Up(up) => Link::Up {
                connects: up.connects,
                generation: up.wire.snapshot.generation(),
            },
        };
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
        let arrival = match sight {
            Sight::Down => None,
            Sight::Up(up) => self.arrive(up, now),
        };
        for pass in &passes {
            self.judge_pass(pass);
        }
        let failed = self.wires.failed_attempts();
        self.story.tell(&self.registration, failed, arrival, now);
        self.tell_trouble();
    }

    /// What is new about a connection that is up; none if it is the one that is known.
    fn arrive(&mut self, mut up: Up, now: Instant) -> Option<Arrival> {
        let generation = up.wire.snapshot.generation();
        // A relay goes on trying to move a connection that is up, and may be refused.
        if !self.way.is_relayed() || generation >= *self.generation.borrow() {
            self.refusals.forget();
        }
        let known = (up.connects, up.moves, generation);
        let before = self.known.replace(known);
        if before == Some(known) {
            return None;
        }
        if before.is_some_and(|(_, moves, _)| moves != up.moves) {
            self.story.explanation().handle_moved();
        }
        let servers = &self.registration.servers;
        let place = up.place.take();
        let place = place.unwrap_or_else(|| way::place_of(&self.client, servers));
        let arrival = Arrival::of(&up, place);
        self.shared.store.confirm(&up.wire.snapshot);
        self.came_up_on = Some(up.wire.snapshot.material().digest());
        self.greet(&arrival, &up.wire, now);
        Some(arrival)
    }

    /// A move that did not succeed left the connection where it was.
    fn tell_trouble(&self) {
        let Some(trouble) = self.way.trouble() else {
            return;
        };
        let is_told = |told: &Option<String>| told.as_ref() == Some(&trouble);
        if !self.registration.look(|report| is_told(&report.last_error)) {
            self.registration
                .update(|report| report.last_error = Some(trouble));
        }
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

    /// The client has ended. What it said last may still be on its way.
    fn close(&mut self) {
        match self.way.finish() {
            Some(_) if self.is_finishing => {}
            Some(finished) => {
                self.is_finishing = true;
                self.work = Some(Box::pin(async move {
                    finished.await;
                    Done::Finished
                }));
            }
            None => self.story.handle_closed(now()),
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
