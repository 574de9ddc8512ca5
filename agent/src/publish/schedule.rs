//! When to publish, to look whether it is still there, to try again and to clean up. A state machine without files or clock.

use std::time::{Duration, Instant};

/// Readers that began with the set before the current one are done after this long.
const LAST_READERS: Duration = Duration::from_secs(10);

/// Somebody may have emptied the directory. That is rare, and to look costs a few small reads.
const LOOK: Duration = Duration::from_secs(60);

/// What there is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Writes nothing if readers see it already.
    Publish,
    ForgetFormer,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The newest generation there is.
    newest: u64,
    /// The newest that readers see, as far as is known.
    published: u64,
    failures: u32,
    retry_at: Option<Instant>,
    forget_at: Option<Instant>,
    /// When to look whether they still see it.
    look_at: Option<Instant>,
}

impl Schedule {
    /// New material is tried at once, however long the last failure wanted to wait.
    pub(super) fn handle_generation(&mut self, generation: u64) {
        if generation > self.newest {
            self.newest = generation;
            self.retry_at = None;
        }
    }

    /// `generation` is what readers see; `is_new` says whether they saw something else before.
    pub(super) fn handle_published(&mut self, generation: u64, is_new: bool, now: Instant) {
        self.published = generation;
        self.failures = 0;
        self.retry_at = None;
        self.look_at = Some(now + LOOK);
        if is_new {
            self.forget_at = Some(now + LAST_READERS);
        }
    }

    /// `wait` is drawn for the number of failures in a row.
    pub(super) fn handle_failure(&mut self, now: Instant, wait: impl FnOnce(u32) -> Duration) {
        self.failures = self.failures.saturating_add(1);
        // It may have been a look that found nothing.
        self.published = 0;
        self.look_at = None;
        self.retry_at = Some(now + wait(self.failures));
    }

    pub(super) fn handle_forgotten(&mut self) {
        self.forget_at = None;
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn poll(&self, now: Instant) -> Option<Work> {
        let is_due = |at: Instant| at <= now;
        let is_behind = self.is_behind() && self.retry_at.is_none_or(is_due);
        if is_behind || self.look_at.is_some_and(is_due) {
            Some(Work::Publish)
        } else if self.forget_at.is_some_and(is_due) {
            Some(Work::ForgetFormer)
        } else {
            None
        }
    }

    /// When [`Schedule::poll`] has something to say, apart from new material.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let retry_at = self.retry_at.filter(|_| self.is_behind());
        let others = self.forget_at.into_iter().chain(self.look_at);
        retry_at.into_iter().chain(others).min()
    }

    fn is_behind(&self) -> bool {
        self.newest > self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    #[test]
    fn the_newest_is_published_once_and_those_in_between_never() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.poll(now), None);
        assert_eq!(schedule.poll_timeout(), None);
        schedule.handle_generation(1);
        schedule.handle_generation(2);
        assert_eq!(schedule.poll(now), Some(Work::Publish));
        schedule.handle_published(2, true, now);
        assert_eq!(schedule.poll(now), None);
    }

    #[test]
    fn a_failure_is_tried_again_and_new_material_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.handle_generation(1);
        schedule.handle_failure(now, |failures| WAIT * failures);
        schedule.handle_failure(now, |failures| WAIT * failures);
        assert_eq!(schedule.failures(), 2);
        assert_eq!(schedule.poll(now), None);
        assert_eq!(schedule.poll_timeout(), Some(now + 2 * WAIT));
        assert_eq!(schedule.poll(now + 2 * WAIT), Some(Work::Publish));
        schedule.handle_generation(1);
        assert_eq!(schedule.poll(now), None, "nothing new");
        schedule.handle_generation(2);
        assert_eq!(schedule.poll(now), Some(Work::Publish));
        schedule.handle_published(2, false, now);
        let look = Some(now + LOOK);
        assert_eq!((schedule.failures(), schedule.poll_timeout()), (0, look));
    }

    #[test]
    fn a_failure_without_anything_to_publish_is_not_tried_again() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.handle_failure(now, |_| WAIT);
        assert_eq!(schedule.poll_timeout(), None);
        assert_eq!(schedule.poll(now + WAIT), None);
    }

    #[test]
    fn it_is_looked_whether_readers_still_see_it_and_tried_again_if_not() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.handle_generation(1);
        schedule.handle_published(1, false, now);
        let look = now + LOOK;
        assert_eq!(schedule.poll_timeout(), Some(look));
        assert_eq!(schedule.poll(look), Some(Work::Publish));
        schedule.handle_failure(look, |_| WAIT);
        assert_eq!(schedule.poll(look), None);
        assert_eq!(schedule.poll_timeout(), Some(look + WAIT));
        assert_eq!(schedule.poll(look + WAIT), Some(Work::Publish));
        schedule.handle_published(1, true, look + WAIT);
        schedule.handle_forgotten();
        assert_eq!(schedule.poll_timeout(), Some(look + WAIT + LOOK));
    }

    #[test]
    fn the_former_set_is_forgotten_after_its_last_readers() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.handle_generation(1);
        schedule.handle_published(1, true, now);
        assert_eq!(schedule.poll_timeout(), Some(now + LAST_READERS));
        let later = now + LAST_READERS;
        assert_eq!(schedule.poll(later), Some(Work::ForgetFormer));
        schedule.handle_generation(2);
        assert_eq!(schedule.poll(later), Some(Work::Publish), "before cleaning");
        schedule.handle_published(2, true, later);
        assert_eq!(schedule.poll(later), None, "it has readers of its own");
        schedule.handle_forgotten();
        assert_eq!(schedule.poll_timeout(), Some(later + LOOK));
    }
}
