//! Tells other processes that there is a new set, once it is validated and, with `--publish-dir`,
//! published: by a signal, a program, or a POST.
//!
//! Each hook has a task of its own, so that one that hangs holds up nobody, neither another hook
//! nor a rotation. Must not decide whether a set is good, and must not touch keys.

mod aside;
mod driver;
mod errand;
mod exec;
mod news;
mod post;
#[cfg(target_os = "linux")]
mod process;
mod report;
mod signal;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use nats_mtls::{Generation, Snapshot, StatusHandle};
use rustix::process::{Pid, getpid};
use tokio::sync::watch;
use tracing::info;

pub(crate) use news::{Known, News, Paths, Tell};
pub(crate) use report::{Board, NotifyStatus};

use driver::Hook;
use exec::{ExecHook, Orphans};
use news::{Published, Rule};
use post::PostHook;
use signal::SignalHook;

use crate::config::NotifyConfig;
use crate::duties::Duties;

/// What there is to tell, newest only; none before there is anything.
pub(crate) type Feed = watch::Receiver<Option<Arc<News>>>;

/// Takes in what was published and hands it to the hooks.
pub(crate) struct Notifier {
    feed: watch::Sender<Option<Arc<News>>>,
    rule: Rule,
    paths: Paths,
    board: Board,
}

impl Notifier {
    /// Starts the hooks. Without any it still says what there is to confirm.
    pub(crate) fn start(
        config: Option<NotifyConfig>,
        paths: Paths,
        duties: &mut Duties,
    ) -> (Self, Board) {
        let rule = Rule::new(config.as_ref().is_some_and(|config| config.first));
        let has_program = config.as_ref().is_some_and(|config| config.exec.is_some());
        let orphans = if has_program || getpid() == Pid::INIT {
            Orphans::adopt()
        } else {
            Orphans::default()
        };
        let hooks = config.map_or_else(Vec::new, |config| hooks(config, &orphans));
        duties.spawn("reap", orphans.reap());
        let board = Board::new(hooks.iter().map(|hook| (hook.kind(), hook.target())));
        let feed = watch::Sender::new(None);
        for hook in &hooks {
            info!(
                hook = hook.kind().as_str(),
                target = hook.target(),
                "will be told about a rotation"
            );
        }
        let notifier = Self {
            board: board.clone(),
            rule,
            paths,
            feed,
        };
        for hook in hooks {
            let name = hook.kind().task();
            duties.spawn(name, driver::drive(hook, notifier.feed(), board.clone()));
        }
        (notifier, board)
    }

    pub(crate) fn feed(&self) -> Feed {
        self.feed.subscribe()
    }

    /// Others may use this set now. `known`: what they know of it, if there is a directory that
    /// remembers.
    pub(crate) fn handle_published(&mut self, snapshot: Arc<Snapshot>, known: Option<Known>) {
        let tell = self.rule.judge(Published {
            is_rollback: snapshot.rolled_back_from().is_some(),
            known,
        });
        if let Tell::Nobody(why) = tell
            && self.board.has_hooks()
        {
            info!(generation = %snapshot.generation(), why, "nobody is told");
        }
        self.feed.send_replace(Some(Arc::new(News {
            snapshot,
            paths: self.paths.clone(),
            tell,
        })));
    }

    /// Resolves once nobody has to be told of what was published last, a set of this generation:
    /// every hook succeeded, or there was nothing to tell. Never without a hook: for one that is added
    /// later it is news.
    pub(crate) async fn settled(&self, generation: Generation) {
        let is_silent = |news: &Arc<News>| matches!(news.tell, Tell::Nobody(_));
        if !self.board.has_hooks() {
            std::future::pending::<()>().await;
        } else if !self.feed.borrow().as_ref().is_some_and(is_silent) {
            self.board.succeeded(generation.number()).await;
        }
    }

    /// Where others read the source files themselves: what is active is what they can use.
    pub(crate) async fn follow(mut self, status: StatusHandle) {
        let mut generations = status.subscribe();
        while generations
            .wait_for(|generation| *generation > self.newest())
            .await
            .is_ok()
        {
            if let Some(snapshot) = status.snapshot() {
                self.handle_published(snapshot, None);
            }
        }
    }

    fn newest(&self) -> Generation {
        let news = self.feed.borrow();
        news.as_ref()
            .map_or(Generation::NONE, |news| news.snapshot.generation())
    }
}

fn hooks(config: NotifyConfig, orphans: &Orphans) -> Vec<Hook> {
    [
        config
            .signal
            .map(|config| Hook::Signal(SignalHook::new(config))),
        config
            .exec
            .map(|config| Hook::Exec(ExecHook::new(config, orphans.clone()))),
        config.http.map(|config| Hook::Post(PostHook::new(config))),
    ]
    .into_iter()
    .flatten()
    .collect()
}
