//! What explains that a connection went down, and what it stayed down for: our own intent, what was
//! said shortly before, what servers refused since. Owns which of them counts; knows no state.

use std::time::{Duration, Instant};

use crate::nats::cause::Cause;

/// A server that says why it will cut a client does so at once.
const HINT_HOLDS: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Hint {
    cause: Cause,
    /// An older hint explains nothing; none if it holds for the whole connection.
    until: Option<Instant>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Explanation {
    intent: Option<Cause>,
    hint: Option<Hint>,
    refusal: Option<Cause>,
}

impl Explanation {
    /// We are about to make the connection go down ourselves.
    pub(crate) fn handle_intent(&mut self, cause: Cause) {
        self.intent = Some(cause);
    }

    /// What we wanted is done, or not needed any more: it explains nothing from now on.
    pub(crate) fn handle_move_over(&mut self) {
        self.intent = None;
    }

    /// The server or the client said something that explains a disconnect soon to be seen.
    pub(crate) fn handle_hint(&mut self, cause: Cause, now: Instant) {
        let until = Some(now + HINT_HOLDS);
        self.hint = Some(Hint { cause, until });
    }

    /// The server said that it will shut down; it may take minutes over it.
    pub(crate) fn handle_lame_duck(&mut self) {
        self.hint = Some(Hint {
            cause: Cause::ServerShutdown,
            until: None,
        });
    }

    /// It is another connection, and was never down: what the former server said explains nothing
    /// from now on.
    pub(crate) fn handle_moved(&mut self) {
        self.hint = None;
    }

    /// The client tried to come back, nobody let it in, and a server refused it for this cause.
    pub(crate) fn handle_refusal(&mut self, cause: Cause) {
        self.refusal = Some(cause);
    }

    /// Why the connection goes down now.
    pub(crate) fn of_disconnect(&mut self, now: Instant) -> Cause {
        let hint = self.hint.take();
        let hint = hint.filter(|hint| hint.until.is_none_or(|until| now <= until));
        let intent = self.intent.take();
        let said = intent.or(hint.map(|hint| hint.cause));
        said.unwrap_or(Cause::Network)
    }

    /// What it was down for until now, if it went down for `cause`. A refusal is the better answer:
    /// it would have been up before.
    pub(crate) fn of_outage(&mut self, cause: Cause) -> Cause {
        self.refusal.take().unwrap_or(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_long_ago_explains_nothing_but_a_lame_duck_takes_its_time() {
        let start = Instant::now();
        let mut explanation = Explanation::default();
        explanation.handle_hint(Cause::SlowConsumer, start);
        let late = start + HINT_HOLDS + Duration::from_secs(1);
        assert_eq!(explanation.of_disconnect(late), Cause::Network);
        explanation.handle_lame_duck();
        let late = start + Duration::from_secs(120);
        assert_eq!(explanation.of_disconnect(late), Cause::ServerShutdown);
        assert_eq!(explanation.of_disconnect(late), Cause::Network);
    }

    #[test]
    fn what_we_want_ourselves_goes_before_what_was_said_and_a_move_not_made_explains_nothing() {
        let now = Instant::now();
        let mut explanation = Explanation::default();
        explanation.handle_hint(Cause::Auth, now);
        explanation.handle_intent(Cause::Rotation);
        assert_eq!(explanation.of_disconnect(now), Cause::Rotation);
        explanation.handle_intent(Cause::Rotation);
        explanation.handle_move_over();
        assert_eq!(explanation.of_disconnect(now), Cause::Network);
    }

    #[test]
    fn what_the_former_server_said_explains_nothing_after_a_move_without_an_outage() {
        let mut explanation = Explanation::default();
        explanation.handle_lame_duck();
        explanation.handle_moved();
        assert_eq!(explanation.of_disconnect(Instant::now()), Cause::Network);
    }

    #[test]
    fn a_refusal_is_what_one_outage_was_for() {
        let mut explanation = Explanation::default();
        explanation.handle_refusal(Cause::Tls);
        assert_eq!(explanation.of_outage(Cause::Network), Cause::Tls);
        assert_eq!(explanation.of_outage(Cause::Rotation), Cause::Rotation);
    }
}
