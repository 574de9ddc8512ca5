//! A candidate on trial: when to ask the gate, when to ask again, and what it said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::material::{Material, Reason, Rejection};
use crate::reload::{Decision, Digest};

/// Between two questions about the same candidate.
const ASK_AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Before a set that was rolled back is asked about again; doubles with each rollback.
const ASK_AGAIN_AFTER_ROLLBACK: Backoff =
    Backoff::new(Duration::from_secs(10), Duration::from_secs(600));

enum State {
    Due(Instant),
    UnderWay,
}

/// See the module documentation.
pub(super) struct Ask {
    material: Arc<Material>,
    state: State,
    unanswered: u32,
    refusal: Option<Rejection>,
}

impl Ask {
    pub(super) fn new(material: Arc<Material>, due: Instant) -> Self {
        Self {
            material,
            state: State::Due(due),
            unanswered: 0,
            refusal: None,
        }
    }

    pub(super) fn quarantined(material: Arc<Material>, rejection: Rejection, due: Instant) -> Self {
        Self {
            refusal: Some(rejection),
            ..Self::new(material, due)
        }
    }

    /// A trial of newer material: its turn comes no later than that of the one it replaces.
    pub(super) fn superseded_by(&self, material: Arc<Material>, due: Instant) -> Self {
        let due = match self.state {
            State::Due(earlier) if self.unanswered == 0 && self.refusal.is_none() => {
                earlier.min(due)
            }
            _ => due,
        };
        Self::new(material, due)
    }

    pub(super) fn material(&self) -> &Arc<Material> {
        &self.material
    }

    pub(super) fn is_about(&self, material: &Material) -> bool {
        self.material.digest() == material.digest()
    }

    /// The same content, judged again: its warnings may differ.
    pub(super) fn replace(&mut self, material: Arc<Material>) {
        self.material = material;
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        if let State::Due(due) = &mut self.state {
            *due = now.min(*due);
        }
    }

    /// What was refused keeps its pauses, whoever comes.
    pub(super) fn hurry_if_unrefused(&mut self, now: Instant) {
        if self.refusal.is_none() {
            self.hurry(now);
        }
    }

    /// Asks from the start, also if a question is under way: its answer would not count.
    pub(super) fn restart(&mut self, now: Instant) {
        self.state = State::Due(now);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Due(due) => Some(due),
            State::UnderWay => None,
        }
    }

    pub(super) fn start_if_due(&mut self, now: Instant) -> Decision {
        match self.state {
            State::Due(due) if due <= now => {
                self.state = State::UnderWay;
                Decision::Ask {
                    material: Arc::clone(&self.material),
                    refusal: self.refusal.clone(),
                }
            }
            _ => self.waiting(),
        }
    }

    /// An answer that comes while nothing is under way is about a candidate that was replaced.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay)
    }

    pub(super) fn waiting(&self) -> Decision {
        Decision::Waiting {
            refusal: self.refusal.clone(),
        }
    }

    pub(super) fn pending(&mut self, now: Instant) -> Decision {
        self.wait(now);
        self.waiting()
    }

    pub(super) fn refused(&mut self, rejection: Rejection, now: Instant) -> Decision {
        self.wait(now);
        let fresh = self.refusal.as_ref().map(|known| known.reason) != Some(rejection.reason);
        self.refusal = Some(rejection.clone());
        Decision::Rejected { rejection, fresh }
    }

    fn wait(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        self.state = State::Due(now + ASK_AGAIN.wait(self.unanswered));
    }
}

/// Sets that connections could not come up on, by digest; the oldest is forgotten first.
#[derive(Default)]
pub(super) struct Quarantine(VecDeque<Quarantined>);

struct Quarantined {
    digest: Digest,
    rollbacks: u32,
    held: bool,
    detail: String,
}

impl Quarantine {
    const CAPACITY: usize = 16;

    /// Puts a set into quarantine and says how long to wait before asking about it.
    pub(super) fn put(&mut self, digest: Digest, detail: &str) -> (Rejection, Duration) {
        let rollbacks = match self.0.iter().position(|known| known.digest == digest) {
            Some(position) => self.0.remove(position).map_or(0, |known| known.rollbacks),
            None => 0,
        } + 1;
        if self.0.len() == Self::CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(Quarantined {
            digest,
            rollbacks,
            held: true,
            detail: detail.to_owned(),
        });
        let wait = ASK_AGAIN_AFTER_ROLLBACK.wait(rollbacks);
        (rolled_back(detail), wait)
    }

    /// A preflight accepted the set. Its rollbacks stay counted, in case it fails again.
    pub(super) fn release(&mut self, digest: Digest) {
        for known in self.0.iter_mut().filter(|known| known.digest == digest) {
            known.held = false;
        }
    }

    pub(super) fn reason_of(&self, digest: Digest) -> Option<Rejection> {
        self.0
            .iter()
            .find(|known| known.digest == digest && known.held)
            .map(|known| rolled_back(&known.detail))
    }
}

fn rolled_back(detail: &str) -> Rejection {
    Rejection::by_server(
        Reason::RolledBack,
        format!("connections could not come up on this set: {detail}"),
    )
}
