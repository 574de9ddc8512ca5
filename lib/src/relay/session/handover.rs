//! The steps of a handover: the client's subscriptions are made on a second upstream connection, both deliver for a
//! moment and copies are matched, then one round trip fences everything on the former connection and the client goes on
//! with the other one. Until the cut every failure leaves the client where it was.
//!
//! The order of the steps is what makes it exact; `ARCHITECTURE.md`, "Handover", says why each is where it is.

use std::time::{Duration, Instant};

use super::interest::Subscription;
use super::link::{Held, LinkState};
use super::matching::{FrameHash, Matching};
use super::pings::{Fence, Owner};
use super::{Event, Session};

/// More frames than this owed by the next connection is no skew any more, but a connection that does not keep up.
const MOST_OWED: usize = 200_000;

/// How long the steps may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandoverTiming {
    /// For each step, until its fence is passed.
    pub(crate) step: Duration,
    /// How long copies are expected after the change, on the same server.
    pub(crate) tail: Duration,
    /// How long interest takes to reach every server of the cluster, when the next connection is to another one.
    pub(crate) route: Duration,
}

/// Where a client is to be moved.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// What the server of the next connection says of itself.
    pub(crate) info: Vec<u8>,
    /// Whether it is the server of the current connection.
    pub(crate) is_same_server: bool,
    /// Whether the client has to move even if it may then subscribe to less.
    pub(crate) is_forced: bool,
}

/// Why a handover did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Abort {
    #[error("a step took too long")]
    Timeout,
    #[error("the new connection may not subscribe to {subject}")]
    SubscriptionDenied { subject: String },
    #[error("the server said {text} to the new connection")]
    Refused { text: String },
    #[error("the new connection does not keep up")]
    TooSlow,
    #[error("the new connection was lost")]
    NextLost,
    #[error("the connection in use was lost")]
    CurrentLost,
}

/// Where a handover is. The client is held in some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The current connection is to confirm every subscription of this moment.
    Marking,
    AwaitMark,
    /// The next connection subscribes what is no queue.
    AwaitReplay,
    /// Interest spreads in the cluster.
    Spreading(After),
    /// A fence on the current connection, then on the next one: copies of what came before do not count.
    AwaitCurrentFence,
    AwaitNextFence,
    AwaitQueue,
    /// The client is to be held between two operations.
    Closing,
    AwaitLateMark,
    AwaitLateReplay,
    /// The current connection was left; there is no way back.
    Cut {
        delivered: bool,
        resumed: bool,
    },
    /// The client goes on; late copies are still matched.
    Tail,
    AwaitTail,
    /// Given up: the next connection's queue messages are passed on until it is quiet.
    GivingUp,
}

/// What comes when interest has spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Replay,
    CurrentFence,
    Queue,
    LateReplay,
}

/// One handover under way.
pub(super) struct Handover {
    number: u64,
    phase: Phase,
    since: Instant,
    deadline: Instant,
    matching: Matching,
    is_same_server: bool,
    is_forced: bool,
    /// Own messages would come back on the next connection: the client is held all the time.
    holds_throughout: bool,
    held_since: Option<Instant>,
    abort: Option<Abort>,
}

impl Handover {
    pub(super) fn holds_client(&self) -> bool {
        match self.phase {
            Phase::Closing
            | Phase::AwaitLateMark
            | Phase::AwaitLateReplay
            | Phase::Spreading(After::LateReplay)
            | Phase::Cut { .. } => true,
            Phase::Tail | Phase::AwaitTail => false,
            _ => self.holds_throughout,
        }
    }

    /// Whether the current connection was left, and the other one is not yet in its place.
    pub(super) fn has_cut(&self) -> bool {
        matches!(self.phase, Phase::Cut { .. })
    }

    fn is_over_for_current(&self) -> bool {
        matches!(
            self.phase,
            Phase::Cut {
                delivered: true,
                ..
            }
        )
    }

    fn is_in_tail(&self) -> bool {
        matches!(self.phase, Phase::Tail | Phase::AwaitTail)
    }

    pub(super) fn is_forced(&self) -> bool {
        self.is_forced && self.phase != Phase::GivingUp
    }

    /// Bytes kept of the next connection.
    pub(super) fn kept_bytes(&self) -> usize {
        self.matching.pending_bytes()
    }
}

impl Session {
    /// Begins a handover to the next connection, whose CONNECT was accepted. Its first bytes are shown with
    /// [`Session::handle_upstream`]. Must not be called while one is under way.
    pub(crate) fn begin_handover(&mut self, move_to: Move, now: Instant) {
        self.handovers += 1;
        let mut next = LinkState::new();
        next.swallows_ok = self.client.options.verbose;
        next.unseen_info = Some(move_to.info);
        self.next = Some(next);
        self.handover = Some(Handover {
            number: self.handovers,
            phase: Phase::Marking,
            since: now,
            deadline: now + self.settings.timing.step,
            matching: Matching::default(),
            is_same_server: move_to.is_same_server,
            is_forced: move_to.is_forced,
            holds_throughout: !self.client.options.echo,
            held_since: None,
            abort: None,
        });
        self.gate_is_taken(now);
    }

    /// Called whenever the client is between two operations.
    pub(super) fn gate_is_taken(&mut self, now: Instant) {
        if !self.client.parser.at_boundary() {
            return;
        }
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.holds_client() && handover.held_since.is_none() {
            handover.held_since = Some(now);
        }
        match handover.phase {
            Phase::Marking => {
                self.interest.mark();
                self.enter(Phase::AwaitMark, now);
                self.fence_current(Fence::Mark);
            }
            Phase::Closing if self.interest.has_late() => {
                self.enter(Phase::AwaitLateMark, now);
                self.fence_current(Fence::LateMark);
            }
            Phase::Closing => self.cut(now),
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        let timing = self.settings.timing;
        if let Some(handover) = &mut self.handover {
            handover.phase = phase;
            handover.deadline = now
                + match phase {
                    Phase::Spreading(After::CurrentFence) => timing.route / 2,
                    Phase::Spreading(_) => timing.route,
                    Phase::Tail if handover.is_same_server => timing.tail,
                    Phase::Tail => timing.tail.max(timing.route),
                    _ => timing.step,
                };
        }
    }

    fn fence_current(&mut self, fence: Fence) {
        self.current.pings.sent(Owner::Relay(fence, self.handovers));
        self.inject(b"PING\r\n");
    }

    fn fence_next(&mut self, fence: Fence) {
        if let Some(next) = &mut self.next {
            next.pings.sent(Owner::Relay(fence, self.handovers));
            self.transmit.next.extend_from_slice(b"PING\r\n");
        }
    }

    /// A fence was passed: on to the next step.
    pub(super) fn passed(&mut self, fence: Fence, number: u64, now: Instant) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.number != number {
            return;
        }
        match (handover.phase, fence) {
            (Phase::AwaitMark, Fence::Mark) => {
                self.interest.move_marked(false, &mut self.transmit.next);
                self.enter(Phase::AwaitReplay, now);
                self.fence_next(Fence::Replay);
            }
            (Phase::AwaitReplay, Fence::Replay) => self.let_spread(After::Replay, now),
            (Phase::AwaitCurrentFence, Fence::Current) => {
                handover.matching.age();
                self.let_spread(After::CurrentFence, now);
            }
            (Phase::AwaitNextFence, Fence::Next) => {
                handover.matching.forget_aged();
                if self.interest.move_marked(true, &mut self.transmit.next) > 0 {
                    self.enter(Phase::AwaitQueue, now);
                    self.fence_next(Fence::Queue);
                } else {
                    self.close_gate(now);
                }
            }
            (Phase::AwaitQueue, Fence::Queue) => self.let_spread(After::Queue, now),
            (Phase::AwaitLateMark, Fence::LateMark) => {
                self.interest.move_late(&mut self.transmit.next);
                self.enter(Phase::AwaitLateReplay, now);
                self.fence_next(Fence::LateReplay);
            }
            (Phase::AwaitLateReplay, Fence::LateReplay) => self.let_spread(After::LateReplay, now),
            (Phase::Cut { .. }, Fence::LastPublish) => {
                self.current.swallows_ok = self.client.options.verbose;
            }
            (Phase::Cut { resumed, .. }, Fence::LastDelivery) => {
                handover.phase = Phase::Cut {
                    delivered: true,
                    resumed,
                };
                self.current_is_done();
                self.switch_if_possible(now);
            }
            (Phase::Cut { delivered, .. }, Fence::Resume) => {
                handover.phase = Phase::Cut {
                    delivered,
                    resumed: true,
                };
                if let Some(next) = &mut self.next {
                    next.swallows_ok = false;
                }
                self.switch_if_possible(now);
            }
            (Phase::AwaitTail, Fence::Tail) => self.finish(),
            (Phase::GivingUp, Fence::GivenUp) => self.given_up(),
            _ => {}
        }
    }

    /// Another server of the cluster needs time to hear of what was subscribed; the same one does not.
    fn let_spread(&mut self, after: After, now: Instant) {
        if self
            .handover
            .as_ref()
            .is_some_and(|handover| handover.is_same_server)
        {
            self.has_spread(after, now);
        } else {
            self.enter(Phase::Spreading(after), now);
        }
    }

    fn has_spread(&mut self, after: After, now: Instant) {
        match after {
            After::Replay => {
                self.enter(Phase::AwaitCurrentFence, now);
                self.fence_current(Fence::Current);
            }
            After::CurrentFence => {
                self.enter(Phase::AwaitNextFence, now);
                self.fence_next(Fence::Next);
            }
            After::Queue => self.close_gate(now),
            After::LateReplay => self.cut(now),
        }
    }

    fn close_gate(&mut self, now: Instant) {
        self.enter(Phase::Closing, now);
        self.gate_is_taken(now);
    }

    /// One round trip fences what the client published and what the current connection still delivers.
    fn cut(&mut self, now: Instant) {
        self.fence_next(Fence::Resume);
        self.fence_current(Fence::LastPublish);
        let mut leaving = Vec::new();
        self.interest.leave_current(&mut leaving);
        self.inject(&leaving);
        self.fence_current(Fence::LastDelivery);
        self.enter(
            Phase::Cut {
                delivered: false,
                resumed: false,
            },
            now,
        );
    }

    /// What the current connection did not deliver, and never will, comes from the next one.
    fn current_is_done(&mut self) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        for kept in handover.matching.take_pending() {
            if !self
                .interest
                .get(kept.key)
                .is_some_and(Subscription::is_live)
            {
                continue;
            }
            self.traffic.downstream_messages += 1;
            self.deliver_kept(kept.key, &kept.frame);
        }
    }

    fn switch_if_possible(&mut self, now: Instant) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        let both = Phase::Cut {
            delivered: true,
            resumed: true,
        };
        if handover.phase != both {
            return;
        }
        let held_since = handover.held_since.take().unwrap_or(now);
        let stall = now.saturating_duration_since(held_since);
        self.become_current();
        self.enter(Phase::Tail, now);
        self.events.push_back(Event::Switched { stall });
    }

    /// The next connection takes the place of the current one.
    fn become_current(&mut self) {
        let Some(next) = self.next.take() else {
            return;
        };
        self.current = next;
        self.interest.switch();
        // Nothing goes to the former connection any more.
        self.transmit.current = std::mem::take(&mut self.transmit.next);
        if let Some(info) = self.current.unseen_info.take() {
            // It was read once already, or there would be no handover.
            let _ = self.tell_info(&info);
        }
    }

    fn finish(&mut self) {
        if let Some(handover) = self.handover.take() {
            self.interest.forget_unwanted();
            self.events.push_back(Event::Finished {
                unmatched: handover.matching.owed(),
            });
        }
    }

    /// Gives up if there is a way back, else ends the client's connection.
    pub(super) fn give_up(&mut self, abort: Abort, now: Instant) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        match handover.phase {
            Phase::Cut { .. } => self.events.push_back(Event::CloseClient(abort)),
            Phase::Tail | Phase::AwaitTail => self.finish(),
            Phase::GivingUp => self.given_up(),
            _ => {
                handover.matching.clear();
                handover.abort = Some(abort);
                let mut leaving = Vec::new();
                // What is under way on the next connection must find its subscription: queue messages are delivered.
                self.interest.leave_next(&mut leaving);
                self.transmit.next.extend_from_slice(&leaving);
                self.enter(Phase::GivingUp, now);
                self.fence_next(Fence::GivenUp);
            }
        }
    }

    /// The next connection is not needed any more, or is gone.
    fn given_up(&mut self) {
        self.next = None;
        self.transmit.next.clear();
        if let Some(handover) = self.handover.take() {
            self.interest.leave_next(&mut Vec::new());
            self.interest.forget_left();
            let abort = handover.abort.unwrap_or(Abort::NextLost);
            self.events.push_back(Event::GivenUp(abort));
        }
    }

    /// The next connection broke.
    pub(super) fn next_is_lost(&mut self, now: Instant) {
        match &mut self.handover {
            Some(handover) if handover.has_cut() => self.give_up(Abort::NextLost, now),
            Some(handover) if !handover.is_in_tail() => {
                handover.abort.get_or_insert(Abort::NextLost);
                self.given_up();
            }
            _ => {}
        }
    }

    /// The current connection broke: whether the session can go on with another one.
    pub(super) fn handover_without_current(&mut self) -> bool {
        match &mut self.handover {
            Some(handover) if handover.has_cut() => {
                self.events
                    .push_back(Event::CloseClient(Abort::CurrentLost));
                false
            }
            Some(handover) if handover.is_in_tail() => {
                self.finish();
                true
            }
            Some(handover) => {
                handover.abort.get_or_insert(Abort::CurrentLost);
                self.given_up();
                true
            }
            None => true,
        }
    }

    /// When [`Session::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let handover = self.handover.as_ref()?;
        Some(match handover.abort {
            Some(Abort::TooSlow) if handover.phase != Phase::GivingUp => handover.since,
            _ => handover.deadline,
        })
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(handover) = &self.handover else {
            return;
        };
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match handover.phase {
            _ if handover.abort == Some(Abort::TooSlow) && handover.phase != Phase::GivingUp => {
                self.give_up(Abort::TooSlow, now);
            }
            Phase::Spreading(after) => self.has_spread(after, now),
            Phase::Tail => {
                self.enter(Phase::AwaitTail, now);
                self.fence_current(Fence::Tail);
            }
            _ => self.give_up(Abort::Timeout, now),
        }
    }

    /// Whether frames of the current connection have twins on the next one.
    pub(super) fn matches_frames(&self) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.phase != Phase::GivingUp && !handover.is_in_tail())
    }

    /// Whether the current connection, once the next one, may still send copies.
    pub(super) fn owes_copies(&self) -> bool {
        let handover = self.handover.as_ref();
        handover.is_some_and(|handover| handover.is_in_tail() && handover.matching.owed() > 0)
    }

    /// Whether PINGs of the server are the relay's to answer, because the client may be held.
    pub(super) fn answers_pings(&self) -> bool {
        self.handover
            .as_ref()
            .is_some_and(|handover| !handover.is_in_tail())
    }

    pub(super) fn delivered_by_current(&mut self, hash: FrameHash) {
        if let Some(handover) = &mut self.handover {
            handover.matching.delivered_by_current(hash);
            if handover.matching.owed() > MOST_OWED {
                handover.abort = Some(Abort::TooSlow);
            }
        }
    }

    pub(super) fn was_delivered(&mut self, hash: FrameHash) -> bool {
        let handover = self.handover.as_mut();
        handover.is_some_and(|handover| handover.matching.was_delivered(hash))
    }

    /// A whole frame of the next connection, of a subscription that both have.
    pub(super) fn keep_or_settle(&mut self, held: Held) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.phase == Phase::GivingUp {
            return;
        }
        let hash = held.hasher.finish();
        let is_wanted = self
            .interest
            .get(held.key)
            .is_some_and(Subscription::is_live);
        if handover.matching.was_delivered(hash) || !is_wanted {
            return;
        }
        if handover.is_over_for_current() {
            self.traffic.downstream_messages += 1;
            self.deliver_kept(held.key, &held.frame);
        } else {
            handover.matching.keep(held.key, hash, held.frame);
        }
    }
}
