//! The task of one hook: hears what there is to tell, asks the errand when, and runs the hook.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nats_mtls::Backoff;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::Feed;
use super::errand::{Attempt, Errand};
use super::exec::{ExecError, ExecHook};
use super::news::{News, Tell};
use super::post::{PostError, PostHook};
use super::report::{Board, Kind, Last};
use super::signal::{SignalError, SignalHook};

/// A process that is just restarting is there again in a second; one that stays away is not
/// hammered, and not forgotten either.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// One way to tell one process.
pub(super) enum Hook {
    Signal(SignalHook),
    Exec(ExecHook),
    Post(PostHook),
}

/// Why a hook failed; says what to do.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Post(#[from] PostError),
}

impl Hook {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Signal(_) => Kind::Signal,
            Self::Exec(_) => Kind::Exec,
            Self::Post(_) => Kind::Http,
        }
    }

    pub(super) fn target(&self) -> String {
        match self {
            Self::Signal(hook) => hook.target(),
            Self::Exec(hook) => hook.target(),
            Self::Post(hook) => hook.target(),
        }
    }

    async fn run(&self, news: &News) -> Result<String, HookError> {
        Ok(match self {
            Self::Signal(hook) => hook.run().await?,
            Self::Exec(hook) => hook.run(news).await?,
            Self::Post(hook) => hook.run(news).await?,
        })
    }
}

/// Ends when nobody can publish any more.
pub(super) async fn drive(hook: Hook, mut feed: Feed, board: Board) {
    if let Hook::Signal(hook) = &hook {
        hook.look().await;
    }
    let mut errand = Errand::new(BACKOFF);
    let mut newest: Option<Arc<News>> = None;
    loop {
        if let (Some(attempt), Some(news)) = (errand.poll_start(Instant::now()), newest.clone()) {
            board.handle_start(hook.kind());
            let run = hook.run(&news);
            tokio::pin!(run);
            let result = loop {
                tokio::select! {
                    result = &mut run => break result,
                    Ok(()) = feed.changed() => newest = hear(&mut feed, &mut errand),
                }
            };
            tell(&hook, attempt, result, &mut errand, &board);
            continue;
        }
        let due = errand.poll_timeout();
        tokio::select! {
            Ok(()) = feed.changed() => {
                newest = hear(&mut feed, &mut errand);
                if due.is_some() && errand.poll_timeout().is_none() {
                    board.handle_silence(hook.kind());
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            else => return,
        }
    }
}

fn hear(feed: &mut Feed, errand: &mut Errand) -> Option<Arc<News>> {
    let news = feed.borrow_and_update().clone();
    if let Some(news) = &news {
        match news.tell {
            Tell::Now => errand.handle_news(news.generation(), Instant::now()),
            Tell::Nobody(_) => errand.handle_silence(),
        }
    }
    news
}

fn tell(
    hook: &Hook,
    attempt: Attempt,
    result: Result<String, HookError>,
    errand: &mut Errand,
    board: &Board,
) {
    let kind = hook.kind();
    let Attempt { generation, number } = attempt;
    let pause = errand.handle_end(result.is_ok(), Instant::now());
    let failure = match result {
        Ok(done) => {
            info!(
                hook = kind.as_str(),
                generation,
                attempt = number,
                "told: {done}"
            );
            None
        }
        Err(error) => {
            let again = pause.map_or_else(
                || "not again: something newer is to be told".to_owned(),
                |pause| format!("again in {pause:.1?}"),
            );
            warn!(
                hook = kind.as_str(),
                generation,
                attempt = number,
                again,
                "could not tell: {error}"
            );
            Some(error.to_string())
        }
    };
    let last = Last {
        attempt,
        at: SystemTime::now(),
        failure,
    };
    board.handle_end(kind, last, pause.is_some());
}
