//! Work that may hang for ever, in a network mount that is dead for example: on a thread of its own,
//! so that neither the agent nor the threads that read certificate files wait for it. At most one
//! at a time: what hangs costs one thread and not one for each attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum AsideError {
    #[error("no answer within {limit:?} (--on-rotate-timeout). Is a network mount dead?")]
    Late { limit: Duration },
    #[error("an earlier attempt still has no answer. Is a network mount dead?")]
    Busy,
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("the thread ended by a bug")]
    Lost,
}

/// One such thread, or none.
#[derive(Debug, Clone, Default)]
pub(super) struct Aside {
    is_busy: Arc<AtomicBool>,
}

/// Until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Aside {
    /// What comes too late is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AsideError> {
        if self.is_busy.swap(true, Ordering::Acquire) {
            return Err(AsideError::Busy);
        }
        let busy = Busy(Arc::clone(&self.is_busy));
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("hook".to_owned())
            .spawn(move || {
                let result = work();
                // First, so that whoever has the result may start anew.
                drop(busy);
                sender.send(result).ok();
            })
            .map_err(AsideError::Thread)?;
        match timeout(limit, receiver).await {
            Ok(result) => result.map_err(|_| AsideError::Lost),
            Err(_) => Err(AsideError::Late { limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_hangs_is_given_up_costs_one_thread_and_is_over_when_it_ends() {
        let aside = Aside::default();
        let (release, hanging) = mpsc::channel::<()>();
        let late = aside.run(SHORT, move || hanging.recv().is_err()).await;
        assert!(matches!(late, Err(AsideError::Late { .. })), "{late:?}");
        let busy = aside.run(LIMIT, || unreachable!("one at a time")).await;
        assert!(matches!(busy, Err::<(), _>(AsideError::Busy)), "{busy:?}");
        drop(release);
        let again = loop {
            match aside.run(LIMIT, || 7).await {
                Err(AsideError::Busy) => tokio::task::yield_now().await,
                other => break other,
            }
        };
        assert_eq!(again.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_blocks_nothing() {
        let aside = Aside::default();
        let lost = aside.run(LIMIT, || panic!("a bug")).await;
        assert!(matches!(lost, Err::<(), _>(AsideError::Lost)), "{lost:?}");
        assert_eq!(aside.run(LIMIT, || 7).await.unwrap(), 7);
    }
}
