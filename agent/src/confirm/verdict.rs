//! When it is asked whether a rotation took, and what is made of the answers. Pure: `now` is an
//! argument.

use std::mem::discriminant;
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
    /// Nobody there can tell. Asked again all the same: the connection may move to a server that can.
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

/// Whether the newest generation took. Only a confirmation is the last word: it may come late, and
/// before the time is over no other verdict is given.
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
    /// The verdict that was given when the time was over.
    said: Option<Verdict>,
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
            said: None,
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
        let verdict = match answer {
            Answer::Seen => {
                self.open = None;
                return Some(Verdict::Confirmed);
            }
            Answer::NotSeen(why) => Verdict::NotConfirmed(why),
            Answer::Unsupported(why) => Verdict::Unsupported(why),
        };
        if now < open.deadline {
            let next = now + self.pace.soon.wait(open.asked);
            // The last look is at the deadline, not shortly before.
            open.due = next.min(open.deadline);
            return None;
        }
        let before = open.said.replace(verdict.clone());
        if before.is_none() {
            open.asked = 0;
        }
        open.due = now + self.pace.late.wait(open.asked);
        // Other words for the same are no news.
        let is_news = before.as_ref().map(discriminant) != Some(discriminant(&verdict));
        is_news.then_some(verdict)
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
    fn that_nobody_can_tell_is_said_at_the_deadline_and_may_change() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(PACE);
        confirmation.handle_told(2, start);
        let unsupported = |_| Answer::Unsupported("at another server".to_owned());
        let (verdict, at, asked) = run(&mut confirmation, start, unsupported);
        assert_eq!(
            (verdict, at),
            (
                Verdict::Unsupported("at another server".to_owned()),
                start + PACE.within
            )
        );
        assert!(asked > 4, "{asked}");
        // It moves to a server that shows the old one, and then takes the new one.
        let old = at + 90 * SECOND;
        let (verdict, at, _) = run(&mut confirmation, at, |now| {
            if now >= old {
                not_seen()
            } else {
                unsupported(now)
            }
        });
        assert_eq!(verdict, Verdict::NotConfirmed("another".to_owned()));
        assert!(at >= old);
        let (verdict, _, asked) = run(&mut confirmation, at, |_| Answer::Seen);
        assert_eq!((verdict, asked), (Verdict::Confirmed, 1));
        assert_eq!(confirmation.poll_timeout(), None);
    }

    #[test]
    fn who_can_tell_in_time_is_believed_although_nobody_could_before() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(PACE);
        confirmation.handle_told(2, start);
        let (verdict, at, _) = run(&mut confirmation, start, |now| {
            if now > start + SECOND {
                Answer::Seen
            } else {
                Answer::Unsupported("at another server".to_owned())
            }
        });
        assert_eq!(verdict, Verdict::Confirmed);
        assert!(at < start + PACE.within);
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
