//! Tells systemd, or whoever else set `NOTIFY_SOCKET`, what the probes tell an orchestrator: ready,
//! reloading, stopping, and that we are alive. Judges nothing itself, and does nothing without that
//! variable. See sd_notify(3).

mod notices;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nats_mtls::report::Liveness;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::http::{Facts, liveness_words, why_not_ready};
use notices::{Notice, Notices, Seen};

/// Whoever started us, if they want to be told. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ServiceManager {
    /// None: nobody listens.
    told: Option<Arc<Told>>,
}

struct Told {
    /// Locked while telling, so that a reload and its end cannot cross.
    notices: Mutex<Notices>,
    tell: Box<dyn Fn(&Notice) + Send + Sync>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn of_process() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { told: None };
        }
        Self::new(sd_notify::watchdog_enabled(), |notice| {
            if let Err(error) = send(notice) {
                warn!(%error, "cannot tell the service manager (NOTIFY_SOCKET): {notice:?}");
            }
        })
    }

    fn new(watchdog: Option<Duration>, tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        let now = Instant::now().into_std();
        Self {
            told: Some(Arc::new(Told {
                notices: Mutex::new(Notices::new(watchdog, now)),
                tell: Box::new(tell),
            })),
        }
    }

    /// Tells what the probes would answer, until the future is dropped.
    pub(crate) async fn follow(self, facts: Facts) -> Infallible {
        self.follow_what(|| look(&facts)).await
    }

    async fn follow_what(self, look: impl Fn() -> Seen) -> Infallible {
        let Some(told) = self.told else {
            return std::future::pending().await;
        };
        loop {
            let seen = look();
            let pause = {
                let mut notices = told.lock();
                let due = notices.handle_health(&seen, Instant::now().into_std());
                due.iter().for_each(&told.tell);
                notices.pause()
            };
            sleep(pause).await;
        }
    }

    /// A reload begins.
    pub(crate) fn reloading(&self) {
        self.tell(Notices::handle_reload);
    }

    /// A reload is over, with whatever result: that is in the log and in the status.
    pub(crate) fn reloaded(&self) {
        self.tell(Notices::handle_reloaded);
    }

    /// The process is about to end.
    pub(crate) fn stopping(&self) {
        self.tell(|notices| Some(notices.handle_stop()));
    }

    fn tell(&self, what: impl FnOnce(&mut Notices) -> Option<Notice>) {
        if let Some(told) = &self.told {
            let mut notices = told.lock();
            what(&mut notices).iter().for_each(&told.tell);
        }
    }
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The probes' own judgement, in words.
fn look(facts: &Facts) -> Seen {
    let status = &facts.status;
    let why_not_started = facts.why_not_started();
    let health = status.health();
    let now = status.status();
    let words = match (health.liveness, health.not_ready, &why_not_started) {
        (Liveness::Alive, None, Some((reason, why))) => {
            format!("ready, but not started: {reason}: {why}")
        }
        (Liveness::Alive, None, None) => {
            let leaf = now.active.as_ref().map(|active| &active.leaf);
            let end = leaf.and_then(|leaf| leaf.not_after.as_deref());
            format!(
                "ready: generation {}, the certificate ends {}",
                now.generation,
                end.unwrap_or("at an unknown time")
            )
        }
        (Liveness::Alive, Some(reason), _) => {
            let why = why_not_ready(reason, &now);
            format!("not ready: {}: {why}", reason.as_str())
        }
        (dead, ..) => format!("not alive: {}: {}", dead.as_str(), liveness_words(dead)),
    };
    Seen {
        started: health.started && why_not_started.is_none(),
        alive: health.liveness == Liveness::Alive,
        words,
    }
}

fn send(notice: &Notice) -> std::io::Result<()> {
    match notice {
        Notice::Ready => sd_notify::notify(&[NotifyState::Ready]),
        // With the time, so that systemd can tell this reload from an earlier one.
        Notice::Reloading => {
            let now = NotifyState::monotonic_usec_now()?;
            sd_notify::notify(&[NotifyState::Reloading, now])
        }
        Notice::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Notice::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        Notice::MoreTime(time) => {
            let microseconds = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(microseconds)])
        }
        Notice::Status(words) => sd_notify::notify(&[NotifyState::Status(words)]),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::advance;

    use super::*;

    /// The task itself, in simulated time, with a liveness that can be turned.
    #[tokio::test(start_paused = true)]
    async fn signs_of_life_stop_when_liveness_fails() {
        let signs = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&signs);
        let manager = ServiceManager::new(Some(Duration::from_secs(30)), move |notice| {
            if *notice == Notice::Alive {
                *counted.lock().unwrap() += 1;
            }
        });
        let alive = Arc::new(AtomicBool::new(true));
        let turned = Arc::clone(&alive);
        tokio::spawn(manager.follow_what(move || Seen {
            started: true,
            alive: turned.load(Ordering::Relaxed),
            words: String::new(),
        }));
        let pass = async |seconds: u64| {
            for _ in 0..seconds {
                advance(Duration::from_secs(1)).await;
                tokio::task::yield_now().await;
            }
            std::mem::take(&mut *signs.lock().unwrap())
        };
        let signs = pass(90).await;
        assert!(
            (8..=10).contains(&signs),
            "{signs} in 90 s, one due every 10 s"
        );
        alive.store(false, Ordering::Relaxed);
        assert_eq!(pass(300).await, 0);
        alive.store(true, Ordering::Relaxed);
        assert!(pass(90).await >= 8);
    }
}
