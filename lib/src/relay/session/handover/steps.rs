//! The steps, in their order: what each fence that was passed leads to.

use std::time::Instant;

use super::{Abort, After, Handover, Move, Phase};
use crate::relay::session::interest::Subscription;
use crate::relay::session::link::LinkState;
use crate::relay::session::matching::Matching;
use crate::relay::session::pings::{Fence, Owner};
use crate::relay::session::{Event, Session};

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
            has_caught_up: false,
            is_closing: false,
            held_since: None,
            abort: None,
            refusals: Vec::new(),
        });
        self.gate_is_taken(now);
    }

    /// Called whenever the client is between two operations.
    pub(in crate::relay::session) fn gate_is_taken(&mut self, now: Instant) {
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
            Phase::Marking => self.mark(now),
            Phase::Closing if self.interest.has_late() => self.mark(now),
            // As long as there is a way back.
            Phase::Closing if handover.abort == Some(Abort::TooSlow) => {
                self.give_up(Abort::TooSlow, now);
            }
            Phase::Closing => self.cut(now),
            _ => {}
        }
    }

    fn mark(&mut self, now: Instant) {
        self.interest.mark();
        self.enter(Phase::AwaitMark, now);
        self.fence_current(Fence::Mark);
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
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

    pub(in crate::relay::session) fn fence_current(&mut self, fence: Fence) {
        let owner = Owner::Relay(fence, self.handovers);
        self.current.pings.sent(owner, self.written());
        self.inject(b"PING\r\n");
    }

    pub(super) fn fence_next(&mut self, fence: Fence) {
        let written = self.written();
        if let Some(next) = &mut self.next {
            let owner = Owner::Relay(fence, self.handovers);
            next.pings.sent(owner, written);
            self.transmit.next.extend_from_slice(b"PING\r\n");
        }
    }

    /// A fence was passed: on to the next step.
    pub(in crate::relay::session) fn passed(&mut self, fence: Fence, number: u64, now: Instant) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        if handover.number != number {
            return;
        }
        match (handover.phase, fence) {
            (Phase::AwaitMark, Fence::Mark) => self.let_spread(After::Mark, now),
            (Phase::AwaitReplay, Fence::Replay) => self.let_spread(After::Replay, now),
            (Phase::AwaitCurrentFence, Fence::Current) => {
                self.interest.fence_moved();
                self.let_spread(After::CurrentFence, now);
            }
            (Phase::AwaitNextFence, Fence::Next) => {
                handover.matching.forget_perhaps();
                if self.interest.move_marked(true, &mut self.transmit.next) > 0 {
                    self.enter(Phase::AwaitQueue, now);
                    self.fence_next(Fence::Queue);
                } else {
                    self.close_gate(now);
                }
            }
            (Phase::AwaitQueue, Fence::Queue) => self.let_spread(After::Queue, now),
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

    pub(super) fn has_spread(&mut self, after: After, now: Instant) {
        match after {
            // Another server may get the same messages for others, and later: what came here before the mark has come
            // there by now, and is not sent when the next connection subscribes.
            After::Mark => {
                self.interest.move_marked(false, &mut self.transmit.next);
                self.enter(Phase::AwaitReplay, now);
                self.fence_next(Fence::Replay);
            }
            After::Replay => {
                self.enter(Phase::AwaitCurrentFence, now);
                self.fence_current(Fence::Current);
            }
            After::CurrentFence => {
                self.enter(Phase::AwaitNextFence, now);
                self.fence_next(Fence::Next);
            }
            After::Queue => self.close_gate(now),
        }
    }

    /// What the client subscribed meanwhile takes the same steps from the mark on: once while it goes on, which takes its
    /// time on another server, and then, for the little that came in between, while it is held and nothing can be late.
    fn close_gate(&mut self, now: Instant) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        let phase = if self.interest.has_late() && !handover.has_caught_up {
            handover.has_caught_up = true;
            Phase::Marking
        } else {
            handover.is_closing = true;
            Phase::Closing
        };
        self.enter(phase, now);
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
        // What the new server says of itself is about another connection from here on.
        self.events.push_back(Event::Switched { stall });
        self.become_current();
        self.enter(Phase::Tail, now);
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
        if let Some(handover) = &mut self.handover {
            self.deferred.append(&mut handover.refusals);
        }
        if let Some(info) = self.current.unseen_info.take() {
            // It was read once already, or there would be no handover.
            let _ = self.tell_info(&info);
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(handover) = self.handover.take() {
            // Of what the client left meanwhile the servers sent as much as they had when they heard of it.
            let unmatched = handover.matching.missing(|key| {
                let known = self.interest.get(key);
                known.is_some_and(Subscription::is_live)
            });
            self.interest.settle();
            self.events.push_back(Event::Finished { unmatched });
        }
    }
}
