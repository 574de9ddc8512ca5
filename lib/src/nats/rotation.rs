//! When to move a live connection onto a new generation: a state machine without I/O.
//!
//! One move at a time, never asked for while disconnected (async-nats queues such requests and
//! reconnects again later), flushed first, and repeated only if a newer generation came meanwhile.

use crate::store::Generation;

/// What is seen of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not connected; the client is trying by itself.
    Down,
    /// Connected, for the `connects`-th time, with a handshake of `generation`.
    Up {
        connects: u64,
        generation: Generation,
    },
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take this connection's turn among the connections of the process, then `handle_turn`.
    TakeTurn,
    /// Flush with a time limit, then `handle_flushed`.
    Flush,
    /// Ask the client to reconnect.
    Reconnect,
    /// The move is over, or not needed any more: give the turn back.
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Queued,
    HasTurn,
    Flushing,
    Flushed,
    /// Asked while on the `connects`-th connection.
    Moving {
        connects: u64,
    },
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Rotation {
    target: Generation,
    leave: bool,
    link: Link,
    phase: Phase,
}

impl Rotation {
    pub(crate) fn new(target: Generation) -> Self {
        Self {
            target,
            leave: false,
            link: Link::Down,
            phase: Phase::Idle,
        }
    }

    /// A generation was published.
    pub(crate) fn handle_published(&mut self, generation: Generation) {
        self.target = self.target.max(generation);
    }

    /// The server will shut down: leave it in the same controlled way.
    pub(crate) fn handle_lame_duck(&mut self) {
        self.leave = true;
    }

    /// The connection's state, as often as the shell looks.
    pub(crate) fn handle_link(&mut self, link: Link) {
        if matches!((self.link, link), (Link::Up { connects: old, .. }, Link::Up { connects: new, .. }) if old != new)
            || link == Link::Down
        {
            self.leave = false;
        }
        self.link = link;
    }

    pub(crate) fn handle_turn(&mut self) {
        if self.phase == Phase::Queued {
            self.phase = Phase::HasTurn;
        }
    }

    pub(crate) fn handle_flushed(&mut self) {
        if self.phase == Phase::Flushing {
            self.phase = Phase::Flushed;
        }
    }

    /// The client was not able to take the request; it is made again.
    pub(crate) fn handle_not_asked(&mut self) {
        if matches!(self.phase, Phase::Moving { .. }) {
            self.phase = Phase::HasTurn;
        }
    }

    /// Whether the move is away from a server, not only onto a generation.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leave
    }

    /// The next step; called until there is none.
    pub(crate) fn poll(&mut self) -> Option<Step> {
        let (phase, step) = match (self.phase, self.link) {
            (Phase::Idle, Link::Up { .. }) if self.is_needed() => (Phase::Queued, Step::TakeTurn),
            (Phase::Idle | Phase::Flushing, Link::Up { .. }) | (Phase::Idle, Link::Down) => {
                return None;
            }
            (Phase::Queued, Link::Up { .. }) if self.is_needed() => return None,
            (Phase::HasTurn, Link::Up { .. }) if self.is_needed() => (Phase::Flushing, Step::Flush),
            (Phase::Flushed, Link::Up { connects, .. }) if self.is_needed() => {
                (Phase::Moving { connects }, Step::Reconnect)
            }
            // The client is between two connections: on its way because we asked.
            (Phase::Moving { .. }, Link::Down) => return None,
            (Phase::Moving { connects: before }, Link::Up { connects, .. })
                if connects == before =>
            {
                return None;
            }
            (Phase::Moving { .. }, Link::Up { .. }) if self.is_needed() => {
                (Phase::Flushing, Step::Flush)
            }
            _ => (Phase::Idle, Step::Finish),
        };
        self.phase = phase;
        Some(step)
    }

    fn is_needed(&self) -> bool {
        match self.link {
            Link::Up { generation, .. } => generation < self.target || self.leave,
            Link::Down => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64) -> Generation {
        (0..number).fold(Generation::NONE, |generation, _| generation.next())
    }

    fn up(connects: u64, number: u64) -> Link {
        Link::Up {
            connects,
            generation: generation(number),
        }
    }

    fn rotation_on(number: u64) -> Rotation {
        let mut rotation = Rotation::new(generation(number));
        rotation.handle_link(up(1, number));
        assert_eq!(rotation.poll(), None);
        rotation
    }

    #[test]
    fn one_rotation_is_one_reconnect() {
        let mut rotation = rotation_on(1);
        rotation.handle_published(generation(2));
        assert_eq!(rotation.poll(), Some(Step::TakeTurn));
        assert_eq!(rotation.poll(), None);
        rotation.handle_turn();
        assert_eq!(rotation.poll(), Some(Step::Flush));
        assert_eq!(rotation.poll(), None);
        rotation.handle_flushed();
        assert_eq!(rotation.poll(), Some(Step::Reconnect));
        assert_eq!(rotation.poll(), None);
        for link in [up(1, 1), Link::Down] {
            rotation.handle_link(link);
            assert_eq!(rotation.poll(), None);
        }
        rotation.handle_link(up(2, 2));
        assert_eq!(rotation.poll(), Some(Step::Finish));
        assert_eq!(rotation.poll(), None);
    }

    #[test]
    fn several_publishes_before_the_move_are_one_move() {
        let mut rotation = rotation_on(1);
        rotation.handle_published(generation(2));
        assert_eq!(rotation.poll(), Some(Step::TakeTurn));
        rotation.handle_published(generation(3));
        rotation.handle_turn();
        rotation.poll();
        rotation.handle_flushed();
        assert_eq!(rotation.poll(), Some(Step::Reconnect));
        rotation.handle_link(up(2, 3));
        assert_eq!(rotation.poll(), Some(Step::Finish));
    }

    #[test]
    fn a_publish_during_the_move_is_followed_by_another() {
        let mut rotation = rotation_on(1);
        rotation.handle_published(generation(2));
        rotation.poll();
        rotation.handle_turn();
        rotation.poll();
        rotation.handle_flushed();
        assert_eq!(rotation.poll(), Some(Step::Reconnect));
        rotation.handle_link(Link::Down);
        rotation.handle_published(generation(3));
        rotation.handle_link(up(2, 2));
        assert_eq!(rotation.poll(), Some(Step::Flush));
    }

    #[test]
    fn nothing_is_asked_while_disconnected() {
        for after in 0..3 {
            let mut rotation = rotation_on(1);
            rotation.handle_published(generation(2));
            let steps: [fn(&mut Rotation); 3] =
                [|_| (), Rotation::handle_turn, Rotation::handle_flushed];
            for step in steps.iter().take(after + 1) {
                rotation.poll();
                step(&mut rotation);
            }
            rotation.handle_link(Link::Down);
            assert_eq!(rotation.poll(), Some(Step::Finish), "{after}");
            assert_eq!(rotation.poll(), None);
            // The client came back by itself, with the new generation: nothing left to do.
            rotation.handle_link(up(2, 2));
            assert_eq!(rotation.poll(), None);
        }
    }

    #[test]
    fn a_handshake_that_began_before_the_publish_is_repeated() {
        let mut rotation = rotation_on(1);
        rotation.handle_link(Link::Down);
        rotation.handle_published(generation(2));
        rotation.handle_link(up(2, 1));
        assert_eq!(rotation.poll(), Some(Step::TakeTurn));
    }

    #[test]
    fn a_lame_duck_is_left_once() {
        let mut rotation = rotation_on(1);
        rotation.handle_lame_duck();
        assert_eq!(rotation.poll(), Some(Step::TakeTurn));
        rotation.handle_turn();
        rotation.poll();
        rotation.handle_flushed();
        assert_eq!(rotation.poll(), Some(Step::Reconnect));
        rotation.handle_link(up(2, 1));
        assert_eq!(rotation.poll(), Some(Step::Finish));
        assert_eq!(rotation.poll(), None);
    }
}
