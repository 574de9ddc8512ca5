//! Waiting for a condition, with a deadline instead of a sleep.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// A deadline that only a broken system misses, on a slow machine too.
pub const PATIENCE: Duration = Duration::from_secs(20);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` again and again until it answers `Some`.
///
/// An error of the probe counts as "not yet": servers restart, files are being written.
///
/// # Errors
/// After `deadline`, naming `what` was waited for and the last error of the probe.
pub async fn eventually<T, Probe, Answer>(
    deadline: Duration,
    what: &str,
    mut probe: Probe,
) -> Result<T>
where
    Probe: FnMut() -> Answer,
    Answer: Future<Output = Result<Option<T>>>,
{
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_sub(began.elapsed());
        let last_error = match tokio::time::timeout(left.max(FIRST_PAUSE), probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(anyhow!("the probe itself did not answer")),
        };
        if began.elapsed() >= deadline {
            let late = format!("not within {deadline:?}: {what}");
            return Err(match last_error {
                Some(error) => error.context(late),
                None => anyhow!(late),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Checks that `probe` stays true for the whole `window`: for "nothing happens".
///
/// # Errors
/// At the first false answer or error, with the time that had passed.
pub async fn throughout<Probe, Answer>(window: Duration, what: &str, mut probe: Probe) -> Result<()>
where
    Probe: FnMut() -> Answer,
    Answer: Future<Output = Result<bool>>,
{
    let began = Instant::now();
    loop {
        let holds = probe()
            .await
            .map_err(|error| error.context(format!("while checking: {what}")))?;
        if !holds {
            return Err(anyhow!(
                "no longer true after {:?}: {what}",
                began.elapsed()
            ));
        }
        if began.elapsed() >= window {
            return Ok(());
        }
        tokio::time::sleep(LONGEST_PAUSE / 2).await;
    }
}
