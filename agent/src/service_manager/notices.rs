//! What a service manager is told, and when. Plain state machine: health in, notices out.

use std::time::{Duration, Instant};

/// How often is looked, at least.
const PACE: Duration = Duration::from_secs(1);
/// A start is over soon, and whoever waits for it should not wait longer.
const PACE_OF_START: Duration = Duration::from_millis(100);
/// What a start asks for at a time: the startup policy decides when it has failed, not the manager's
/// time limit. Asked for only while we are alive, so a start that hangs is still noticed.
const MORE_TIME: Duration = Duration::from_secs(30);
const BEFORE_ASKING_AGAIN: Duration = Duration::from_secs(10);
/// Text from servers and files may be long.
const LONGEST_STATUS: usize = 300;

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The start, or a reload, is over.
    Ready,
    Reloading,
    Stopping,
    /// For the watchdog.
    Alive,
    /// For a start that takes its time.
    MoreTime(Duration),
    /// One line for people.
    Status(String),
}

/// What the probes would answer now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Was ready at least once.
    pub(super) started: bool,
    pub(super) alive: bool,
    pub(super) words: String,
}

#[derive(Debug)]
pub(super) struct Notices {
    /// How long the manager waits for a sign of life; none: it does not.
    watchdog: Option<Duration>,
    started: bool,
    stopping: bool,
    status: String,
    next_ping: Instant,
    next_request: Instant,
}

impl Notices {
    pub(super) fn new(watchdog: Option<Duration>, now: Instant) -> Self {
        Self {
            watchdog,
            started: false,
            stopping: false,
            status: String::new(),
            next_ping: now,
            next_request: now,
        }
    }

    /// What is due. The first ready ends the start; later ups and downs are in the status alone.
    pub(super) fn handle_health(&mut self, seen: &Seen, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        let status = one_line(&seen.words);
        if status != self.status {
            self.status.clone_from(&status);
            notices.push(Notice::Status(status));
        }
        if seen.started && !self.started && !self.stopping {
            self.started = true;
            notices.push(Notice::Ready);
        }
        if !seen.alive {
            return notices;
        }
        if !self.started && !self.stopping && now >= self.next_request {
            self.next_request = now + BEFORE_ASKING_AGAIN;
            notices.push(Notice::MoreTime(MORE_TIME));
        }
        if let Some(period) = self.period()
            && now >= self.next_ping
        {
            self.next_ping = now + period;
            notices.push(Notice::Alive);
        }
        notices
    }

    /// Before the start is over this would only confuse: the ready that follows would end it.
    pub(super) fn handle_reload(&mut self) -> Option<Notice> {
        (self.started && !self.stopping).then_some(Notice::Reloading)
    }

    /// A manager that was told of a reload waits for its end.
    pub(super) fn handle_reloaded(&mut self) -> Option<Notice> {
        (self.started && !self.stopping).then_some(Notice::Ready)
    }

    pub(super) fn handle_stop(&mut self) -> Notice {
        self.stopping = true;
        Notice::Stopping
    }

    /// When to look again.
    pub(super) fn pause(&self) -> Duration {
        let pace = if self.started { PACE } else { PACE_OF_START };
        self.period().map_or(pace, |period| pace.min(period))
    }

    /// Twice within the time that the manager waits is what its documentation asks for; a third
    /// leaves room for a busy machine.
    fn period(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 3)
    }
}

/// A line break would be the end of the status and the beginning of another notice.
fn one_line(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_STATUS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(started: bool, alive: bool, words: &str) -> Seen {
        Seen {
            started,
            alive,
            words: words.to_owned(),
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn ready_is_told_once_and_only_then() {
        let now = Instant::now();
        let mut notices = Notices::new(None, now);
        let waiting = seen(false, true, "connecting");
        assert_eq!(
            notices.handle_health(&waiting, now),
            [
                Notice::Status("connecting".into()),
                Notice::MoreTime(MORE_TIME)
            ]
        );
        assert_eq!(notices.handle_health(&waiting, now + seconds(9)), []);
        let again = notices.handle_health(&waiting, now + seconds(10));
        assert_eq!(again, [Notice::MoreTime(MORE_TIME)]);
        let ready = seen(true, true, "ready");
        let told = notices.handle_health(&ready, now + seconds(11));
        assert_eq!(told, [Notice::Status("ready".into()), Notice::Ready]);
        // Down again and up again: the start is over.
        let down = seen(true, true, "disconnected");
        let told = notices.handle_health(&down, now + seconds(60));
        assert_eq!(told, [Notice::Status("disconnected".into())]);
        let told = notices.handle_health(&ready, now + seconds(90));
        assert_eq!(told, [Notice::Status("ready".into())]);
    }

    #[test]
    fn a_start_that_hangs_asks_for_no_more_time() {
        let now = Instant::now();
        let mut notices = Notices::new(Some(seconds(3)), now);
        let told = notices.handle_health(&seen(false, false, "stuck"), now + seconds(60));
        assert_eq!(told, [Notice::Status("stuck".into())]);
    }

    #[test]
    fn signs_of_life_come_three_times_as_often_as_asked_for_and_end_with_liveness() {
        let now = Instant::now();
        let mut notices = Notices::new(Some(seconds(3)), now);
        let (alive, dead) = (seen(true, true, ""), seen(true, false, ""));
        assert_eq!(notices.pause(), PACE_OF_START);
        let told = notices.handle_health(&alive, now);
        assert_eq!(told, [Notice::Ready, Notice::Alive]);
        assert_eq!(notices.pause(), seconds(1));
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        assert_eq!(notices.handle_health(&alive, later(900)), []);
        assert_eq!(notices.handle_health(&alive, later(1000)), [Notice::Alive]);
        for milliseconds in [2000, 3000, 600_000] {
            assert_eq!(notices.handle_health(&dead, later(milliseconds)), []);
        }
        let told = notices.handle_health(&alive, later(600_001));
        assert_eq!(told, [Notice::Alive]);
    }

    #[test]
    fn a_reload_is_told_between_start_and_end_alone() {
        let now = Instant::now();
        let mut notices = Notices::new(None, now);
        assert_eq!(notices.handle_reload(), None);
        assert_eq!(notices.handle_reloaded(), None);
        notices.handle_health(&seen(true, true, ""), now);
        assert_eq!(notices.handle_reload(), Some(Notice::Reloading));
        assert_eq!(notices.handle_reloaded(), Some(Notice::Ready));
        assert_eq!(notices.handle_stop(), Notice::Stopping);
        assert_eq!(notices.handle_reload(), None);
        assert_eq!(notices.handle_reloaded(), None);
    }

    #[test]
    fn nobody_else_can_put_words_into_our_mouth() {
        let now = Instant::now();
        let mut notices = Notices::new(None, now);
        let told = notices.handle_health(&seen(false, false, "refused:\nREADY=1"), now);
        assert_eq!(told, [Notice::Status("refused: READY=1".into())]);
        let long = "x".repeat(100_000);
        let told = notices.handle_health(&seen(false, false, &long), now);
        assert_eq!(told, [Notice::Status("x".repeat(LONGEST_STATUS))]);
    }
}
