//! What to do with what was read: wait, reject, ask, publish. A state machine without files,
//! sockets or clocks; `task` drives it.
//!
//! Every wake-up reads the whole set again and hands it to `Reload::handle_read`; so a stored
//! candidate is judged anew as time passes, and there is only one way in.

mod ask;
mod last_good;
mod report;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use report::{LastPreflight, LastReload, ReloadCounts, ReloadOutcome, ReloadReport, Verdict};
pub(crate) use task::{Command, Reloader, RollbackReason, Timing};

use crate::material::{Material, MaterialDigest, Policy, Reason, Rejection};
use crate::reload::ask::{Ask, Quarantine};
use crate::source::{RawDigest, RawMaterial, ReadError};
use crate::store::GateAnswer;

/// Why the set is read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Something changed, or it is time to look again.
    Watch,
    /// A person or a program asked: judge at once, without patience and without spread.
    Manual,
}

/// The moment of a decision, on both clocks, and what is active then.
pub(crate) struct Now<'a> {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
    pub(crate) active: Option<&'a Material>,
}

impl Now<'_> {
    fn active_is_spent(&self) -> bool {
        self.active
            .is_none_or(|active| active.is_expired(self.wall))
    }

    /// How long the active material is still good; none without one.
    fn active_remaining(&self) -> Option<Duration> {
        let not_after = self.active?.not_after();
        Some(not_after.duration_since(self.wall).unwrap_or_default())
    }
}

/// What to do after a read or an answer.
pub(crate) enum Decision {
    /// Nothing changed.
    Unchanged,
    /// Not good yet, maybe half-written: look again soon.
    Settling,
    /// A candidate waits: for its turn, or for the answer that is under way. `refusal` is what
    /// the gate said last, if it refused.
    Waiting { refusal: Option<Rejection> },
    /// Not accepted. `fresh` is true the first time this set is rejected for this reason.
    Rejected { rejection: Rejection, fresh: bool },
    /// Ask the gate about this candidate. `refusal` as above.
    Ask {
        material: Arc<Material>,
        refusal: Option<Rejection>,
    },
    /// Publish this candidate now.
    Publish(Arc<Material>),
}

/// What became of a set that was taken back.
pub(crate) struct Quarantined {
    pub(crate) rejection: Rejection,
    /// Whether the files still hold it.
    pub(crate) on_disk: bool,
}

enum Disk {
    /// Not read yet, or the same as what is active.
    Settled,
    /// Bad, but perhaps only for a moment.
    Settling {
        since: Instant,
        tries: u32,
        next: Instant,
    },
    /// Bad; judged again at each poll.
    Rejected(Rejected),
    /// Good, different from what is active, and not published.
    Candidate(Ask),
    /// Good by all rules, and yet rustls cannot make a configuration of it.
    Unusable {
        digest: Digest,
        rejection: Rejection,
    },
}

#[derive(PartialEq)]
struct Rejected {
    raw: Option<RawDigest>,
    reason: Reason,
}

/// See the module documentation.
pub(crate) struct Reload {
    policy: Policy,
    settle: Duration,
    spread: Duration,
    random: fn() -> f64,
    disk: Disk,
    last_raw: Option<RawDigest>,
    /// When the content that was read last was read first.
    change_seen: Option<Instant>,
    quarantine: Quarantine,
}

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

impl Reload {
    pub(crate) fn new(policy: Policy, timing: &Timing, random: fn() -> f64) -> Self {
        Self {
            policy,
            settle: timing.settle,
            spread: timing.spread,
            random,
            disk: Disk::Settled,
            last_raw: None,
            change_seen: None,
            quarantine: Quarantine::default(),
        }
    }

    /// Judges what was read.
    pub(crate) fn handle_read(
        &mut self,
        read: &Result<RawMaterial, ReadError>,
        trigger: Trigger,
        now: &Now<'_>,
    ) -> Decision {
        let raw = read.as_ref().ok().map(RawMaterial::digest);
        if matches!(self.disk, Disk::Settled) && raw.is_some() && raw == self.last_raw {
            return Decision::Unchanged;
        }
        if raw != self.last_raw {
            self.change_seen = Some(now.instant);
        }
        self.last_raw = raw;
        match self.judge(read, now) {
            Err(rejection) => self.handle_bad(rejection, raw, trigger, now.instant),
            Ok(material)
                if now
                    .active
                    .is_some_and(|active| active.digest() == material.digest()) =>
            {
                self.disk = Disk::Settled;
                Decision::Unchanged
            }
            Ok(material) => self.handle_good(Arc::new(material), trigger, now),
        }
    }

    /// Takes the gate's answer about the candidate that was asked last.
    pub(crate) fn handle_answer(&mut self, answer: &GateAnswer, now: &Now<'_>) -> Decision {
        let Disk::Candidate(ask) = &mut self.disk else {
            return Decision::Unchanged;
        };
        if !ask.is_under_way() {
            return ask.waiting();
        }
        let digest = ask.material().digest();
        match answer {
            GateAnswer::Accepted => {
                self.quarantine.release(digest);
                Decision::Publish(Arc::clone(ask.material()))
            }
            GateAnswer::NotAsked { .. } => match self.quarantine.reason_of(digest) {
                Some(rejection) => ask.refused(rejection, now.instant),
                None => Decision::Publish(Arc::clone(ask.material())),
            },
            GateAnswer::Refused(rejection) => ask.refused(rejection.clone(), now.instant),
            GateAnswer::Pending { .. } => ask.pending(now.instant),
        }
    }

    /// Judges what was kept of an earlier life, to start from it. What the files hold stays as it is:
    /// they keep their patience, and win as soon as they are good.
    pub(crate) fn judge_last_good(
        &self,
        kept: &Result<RawMaterial, ReadError>,
        wall: SystemTime,
    ) -> Result<Material, Rejection> {
        let raw = kept
            .as_ref()
            .map_err(|error| Rejection::from(error.clone()))?;
        Material::parse(raw, &self.policy, wall)
    }

    /// When what the files hold now was seen first.
    pub(crate) fn change_seen(&self) -> Option<Instant> {
        self.change_seen
    }

    /// The material of the last decision is active now.
    pub(crate) fn handle_published(&mut self) {
        self.disk = Disk::Settled;
    }

    /// No configuration can be made of the material of the last decision: neither asked about nor
    /// published, and no better next time.
    pub(crate) fn handle_unusable(&mut self, digest: Digest, rejection: Rejection) {
        self.disk = Disk::Unusable { digest, rejection };
    }

    /// Connections could not come up on `material`, which was active; something older is now. The
    /// set goes into quarantine. If the files hold another one by now, that one keeps its turn.
    pub(crate) fn handle_rolled_back(
        &mut self,
        material: Arc<Material>,
        detail: &str,
        now: Instant,
    ) -> Quarantined {
        let (rejection, wait) = self.quarantine.put(material.digest(), detail);
        let on_disk = matches!(self.disk, Disk::Settled);
        if on_disk {
            self.disk = Disk::Candidate(Ask::quarantined(material, rejection.clone(), now + wait));
        }
        Quarantined { rejection, on_disk }
    }

    /// Ask again now: somebody new can answer.
    pub(crate) fn handle_new_server(&mut self, now: Instant) {
        if let Disk::Candidate(ask) = &mut self.disk {
            ask.hurry_if_unrefused(now);
        }
    }

    /// The question that was just answered is asked once more.
    pub(crate) fn handle_asked_again(&mut self, now: Instant) {
        if let Disk::Candidate(ask) = &mut self.disk {
            ask.restart(now);
        }
    }

    /// Whether connections could not come up on this set, and no preflight accepted it since.
    pub(crate) fn is_quarantined(&self, digest: Digest) -> bool {
        self.quarantine.reason_of(digest).is_some()
    }

    /// When to read again, apart from changes and polls.
    pub(crate) fn poll_timeout(&self, now: &Now<'_>) -> Option<Instant> {
        match &self.disk {
            Disk::Settled | Disk::Rejected(_) | Disk::Unusable { .. } => None,
            Disk::Settling { next, .. } => Some(*next),
            // Once the active certificate has expired there is nothing left to protect by asking.
            Disk::Candidate(ask) => {
                let expiry = now
                    .active_remaining()
                    .map(|remaining| now.instant + remaining);
                ask.next().into_iter().chain(expiry).min()
            }
        }
    }

    fn judge(
        &self,
        read: &Result<RawMaterial, ReadError>,
        now: &Now<'_>,
    ) -> Result<Material, Rejection> {
        let raw = read
            .as_ref()
            .map_err(|error| Rejection::from(error.clone()))?;
        match now.active {
            Some(active) => Material::parse_successor(raw, &self.policy, now.wall, active),
            None => Material::parse(raw, &self.policy, now.wall),
        }
    }

    fn handle_bad(
        &mut self,
        rejection: Rejection,
        raw: Option<RawDigest>,
        trigger: Trigger,
        now: Instant,
    ) -> Decision {
        let rejected = Rejected {
            raw,
            reason: rejection.reason,
        };
        if matches!(&self.disk, Disk::Rejected(known) if *known == rejected) {
            return Decision::Rejected {
                rejection,
                fresh: false,
            };
        }
        let (since, tries) = match &self.disk {
            Disk::Settling { since, tries, .. } => (*since, *tries),
            _ => (now, 0),
        };
        let give_up = since + self.settle;
        if trigger == Trigger::Watch && rejection.reason.may_be_torn() && now < give_up {
            let wait = FIRST_RETRY
                .saturating_mul(1 << tries.min(10))
                .min(LONGEST_RETRY);
            self.disk = Disk::Settling {
                since,
                tries: tries + 1,
                next: (now + wait).min(give_up),
            };
            return Decision::Settling;
        }
        self.disk = Disk::Rejected(rejected);
        Decision::Rejected {
            rejection,
            fresh: true,
        }
    }

    fn handle_good(
        &mut self,
        material: Arc<Material>,
        trigger: Trigger,
        now: &Now<'_>,
    ) -> Decision {
        if let Disk::Unusable { digest, rejection } = &self.disk
            && *digest == material.digest()
        {
            return Decision::Rejected {
                rejection: rejection.clone(),
                fresh: false,
            };
        }
        if now.active_is_spent() {
            return Decision::Publish(material);
        }
        let spread = match trigger {
            Trigger::Manual => Duration::ZERO,
            Trigger::Watch => self.spread_before_expiry(now),
        };
        match &mut self.disk {
            Disk::Candidate(ask) if ask.is_about(&material) => {
                if trigger == Trigger::Manual {
                    ask.hurry(now.instant);
                }
                ask.replace(material);
            }
            // A newer candidate inherits the turn of the one it replaces: a burst of renewals
            // does not put the move off again and again.
            Disk::Candidate(ask) => *ask = ask.superseded_by(material, now.instant + spread),
            _ => self.disk = Disk::Candidate(Ask::new(material, now.instant + spread)),
        }
        self.ask_if_due(now.instant)
    }

    fn ask_if_due(&mut self, now: Instant) -> Decision {
        let Disk::Candidate(ask) = &mut self.disk else {
            return Decision::Unchanged;
        };
        ask.start_if_due(now)
    }

    /// A random delay, so that a fleet does not move as one; never past half the time that the
    /// active certificate has left.
    fn spread_before_expiry(&self, now: &Now<'_>) -> Duration {
        let longest = now
            .active_remaining()
            .map_or(Duration::ZERO, |remaining| self.spread.min(remaining / 2));
        longest.mul_f64((self.random)())
    }
}

/// The digest of a candidate, for tests and quarantine.
pub(crate) type Digest = MaterialDigest;
