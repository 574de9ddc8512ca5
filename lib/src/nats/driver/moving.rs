//! The steps of a move, as [`Rotation`](crate::nats::rotation::Rotation) says them: a turn among the
//! connections of the process, a flush, the reconnect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Driver, now};
use crate::clock;
use crate::nats::cause::Cause;
use crate::nats::rotation::Step;

/// A connection waits no longer than this for the others of its process to move first.
const LONGEST_TURN: Duration = Duration::from_secs(10);

pub(super) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) enum Done {
    Turn(Option<OwnedSemaphorePermit>),
    Flushed,
    Asked(bool),
    Finished,
}

impl Driver {
    pub(super) fn step(&mut self) {
        if self.way.is_relayed() {
            return; // The relay hands it over.
        }
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

    pub(super) fn finish(&mut self, done: Done) {
        self.work = None;
        match done {
            Done::Turn(turn) => {
                self.turn = turn;
                self.rotation.handle_turn();
            }
            Done::Flushed => self.rotation.handle_flushed(),
            Done::Asked(true) => {}
            Done::Asked(false) => self.rotation.handle_not_asked(),
            Done::Finished => self.story.handle_closed(now()),
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
        self.story
            .explanation()
            .handle_intent(if self.rotation.is_leaving() {
                Cause::LameDuck
            } else if rollback {
                Cause::Rollback
            } else {
                Cause::Rotation
            });
    }

    /// Turns are a courtesy; the old certificate's expiry is a deadline.
    fn longest_turn(&self) -> Duration {
        let remaining = self.way.wire().map(|wire| {
            let not_after = wire.snapshot.material().not_after();
            not_after.duration_since(clock::now()).unwrap_or_default()
        });
        remaining.map_or(LONGEST_TURN, |remaining| LONGEST_TURN.min(remaining / 2))
    }

    /// A move that became an outage is an outage: others need not wait for it.
    pub(super) fn give_way(&mut self) {
        if self
            .moving_since
            .is_some_and(|since| now().saturating_duration_since(since) > LONGEST_TURN)
        {
            self.moving_since = None;
            self.turn = None;
            self.wires.moving.store(false, Ordering::Relaxed);
        }
    }
}
