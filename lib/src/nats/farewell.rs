//! The last words of a server come a moment after the connection is seen to be down: the client's
//! state goes one way and its events another. They are waited for, but not for long: events may be
//! lost.

use std::time::{Duration, Instant};

/// Events are a task switch away.
const PATIENCE: Duration = Duration::from_millis(100);

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Farewell {
    down_since: Option<Instant>,
    heard: bool,
    over: bool,
}

impl Farewell {
    pub(crate) fn handle_up(&mut self) {
        *self = Self::default();
    }

    /// The client's own event of the disconnect: whatever the server said came before it.
    pub(crate) fn handle_heard(&mut self) {
        self.heard = true;
    }

    /// When the connection went down, once everything about it was heard.
    pub(crate) fn handle_down(&mut self, now: Instant) -> Option<Instant> {
        let since = *self.down_since.get_or_insert(now);
        self.over |= self.heard || now.saturating_duration_since(since) >= PATIENCE;
        self.over.then_some(since)
    }

    /// Whether something may still be said.
    pub(crate) fn is_awaited(&self) -> bool {
        self.down_since.is_some() && !self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_once_it_was_heard_or_after_a_moment() {
        let start = Instant::now();
        let mut farewell = Farewell::default();
        assert_eq!(farewell.handle_down(start), None);
        assert!(farewell.is_awaited());
        assert_eq!(farewell.handle_down(start + PATIENCE), Some(start));
        assert!(!farewell.is_awaited());

        farewell.handle_up();
        assert!(!farewell.is_awaited());
        let later = start + Duration::from_secs(1);
        assert_eq!(farewell.handle_down(later), None);
        farewell.handle_heard();
        assert_eq!(farewell.handle_down(later + PATIENCE / 2), Some(later));
    }
}
