//! When it is asked whether a rotation took, and what is made of the answers. Pure: `now` is an
//! argument.

use std::time::Duration;

use nats_mtls::Backoff;
use tokio::time::Instant;

/// One look at the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The new one is there.
    Seen,
    /// It is not there yet: another is, or nobody answers.
    NotSeen(String),
    /// Nobody there can tell, and asking again would not change that.
    Unsupported(String),
}

/// What came of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Confirmed,
    NotConfirmed(String),
    Unsupported(String),
}

/// How often is asked before the time is over, and afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) within: Duration,
    pub(super) soon: Backoff,
    pub(super) late: Backoff,
}

/// Whether the newest generation took. A late confirmation is one, too: a verdict of "not
/// confirmed" is not the last word.
#[derive(Debug)]
pub(super) struct Confirmation {
    pace: Pace,
    open: Option<Open>,
    asking: Option<u64>,
}

#[derive(Debug)]
struct Open {
    generation: u64,
    deadline: Instant,
    due: Instant,
    asked: u32,
    is_late: bool,
}

impl Confirmation {
    pub(super) const fn new(pace: Pace) -> Self {
        Self {
            pace,
            open: None,
            asking: None,
        }
    }

    /// Everybody was told, or should have been: from now on it counts.
    pub(super) fn handle_told(&mut self, generation: u64, now: Instant) {
        self.open = Some(Open {
            generation,
            deadline: now + self.pace.within,
            due: now,
            asked: 0,
            is_late: false,
        });
    }

    /// Which generation to ask about now. [`Confirmation::handle_answer`] must follow.
    pub(super) fn poll_ask(&mut self, now: Instant) -> Option<u64> {
        let open = self.open.as_mut()?;
        if self.asking.is_some() || open.due > now {
            return None;
        }
        open.asked = open.asked.saturating_add(1);
        self.asking = Some(open.generation);
        self.asking
    }

    /// The answer; a verdict if there is a new one.
    pub(super) fn handle_answer(&mut self, answer: Answer, now: Instant) -> Option<Verdict> {
        let asked_about = self.asking.take()?;
        // What was asked about may be history by now.
        let open = self
            .open
            .as_mut()
            .filter(|open| open.generation == asked_about)?;
        match answer {
            Answer::Seen => {
                self.open = None;
                Some(Verdict::Confirmed)
            }
            Answer::Unsupported(why) => {
                self.open = None;
                Some(Verdict::Unsupported(why))
            }
            Answer::NotSeen(why) if now >= open.deadline => {
                let is_news = !open.is_late;
                if is_news {
                    open.is_late = true;
                    open.asked = 0;
                }
                open.due = now + self.pace.late.wait(open.asked);
                is_news.then_some(Verdict::NotConfirmed(why))
            }
            Answer::NotSeen(_) => {
                let next = now + self.pace.soon.wait(open.asked);
                // The last look is at the deadline, not shortly before.
                open.due = next.min(open.deadline);
                None
            }
        }
    }

    /// When to poll again; none while an answer is awaited or nothing is open.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.asking {
            Some(_) => None,
            None => self.open.as_ref().map(|open| open.due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PACE: Pace = Pace {
        within: Duration::from_secs(10),
        soon: Backoff::new(Duration::from_millis(100), SECOND),
        late: Backoff::new(SECOND, Duration::from_secs(60)),
    };

    fn not_seen() -> Answer {
        Answer::NotSeen("another".to_owned())
    }

    /// Answers until there is a verdict, and says when that was and how often it asked.
    fn run(
        confirmation: &mut Confirmation,
        mut now: Instant,
        answer: impl Fn(Instant) -> Answer,
    ) -> (Verdict, Instant, u32) {
        for asked in 1..1000 {
            now = now.max(confirmation.poll_timeout().unwrap());
            assert!(confirmation.poll_ask(now).is_some());
            assert_eq!(confirmation.poll_timeout(), None);
            if let Some(verdict) = confirmation.handle_answer(answer(now), now) {
                return (verdict, now, asked);
            }
        }
        unreachable!("no verdict")
    }

    #[test]
    fn it_is_asked_until_it_is_seen() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(PACE);
        assert_eq!(confirmation.poll_ask(start), None, "nobody was told");
        confirmation.handle_told(2, start);
        let seen = start + 3 * SECOND;
        let (verdict, at, asked) = run(&mut confirmation, start, |now| {
            if now >= seen {
                Answer::Seen
            } else {
                not_seen()
            }
        });
        assert_eq!(verdict, Verdict::Confirmed);
        assert!(at >= seen && at < seen + SECOND, "{:?}", at - start);
        assert!(asked > 4, "{asked}");
        assert_eq!(confirmation.poll_timeout(), None, "and no more afterwards");
    }

    #[test]
    fn it_is_not_confirmed_at_the_deadline_and_may_still_be_later() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(PACE);
        confirmation.handle_told(2, start);
        let (verdict, at, _) = run(&mut confirmation, start, |_| not_seen());
        assert_eq!(verdict, Verdict::NotConfirmed("another".to_owned()));
        assert_eq!(at, start + PACE.within);
        let seen = start + Duration::from_secs(600);
        let (verdict, at, asked) = run(&mut confirmation, at, |now| {
            if now >= seen {
                Answer::Seen
            } else {
                not_seen()
            }
        });
        assert_eq!(verdict, Verdict::Confirmed);
        assert!(at < seen + Duration::from_secs(60));
        assert!(asked < 40, "{asked} questions in ten minutes");
    }

    #[test]
    fn what_cannot_be_told_is_asked_once() {
        let now = Instant::now();
        let mut confirmation = Confirmation::new(PACE);
        confirmation.handle_told(2, now);
        let unsupported = |_| Answer::Unsupported("old".to_owned());
        let (verdict, at, asked) = run(&mut confirmation, now, unsupported);
        assert_eq!(
            (verdict, at, asked),
            (Verdict::Unsupported("old".to_owned()), now, 1)
        );
        assert_eq!(confirmation.poll_timeout(), None);
        confirmation.handle_told(3, now);
        assert_eq!(
            confirmation.poll_ask(now),
            Some(3),
            "the next one is asked about again"
        );
    }

    #[test]
    fn an_answer_about_the_generation_before_counts_for_nothing() {
        let now = Instant::now();
        let mut confirmation = Confirmation::new(PACE);
        confirmation.handle_told(2, now);
        assert_eq!(confirmation.poll_ask(now), Some(2));
        confirmation.handle_told(3, now);
        assert_eq!(confirmation.poll_ask(now), None, "one question at a time");
        assert_eq!(confirmation.handle_answer(Answer::Seen, now), None);
        assert_eq!(confirmation.poll_ask(now), Some(3));
        assert_eq!(
            confirmation.handle_answer(Answer::Seen, now),
            Some(Verdict::Confirmed)
        );
    }
}
