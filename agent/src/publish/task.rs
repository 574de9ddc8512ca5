//! The shell: waits for new material, writes on a blocking thread, and tells what came of it.
//! Nothing waits for it, so a directory that is full or hangs holds up no connection.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nats_mtls::{Backoff, Generation, StatusHandle};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::contents::Contents;
use super::directory::Directory;
use super::error::{Action, PublishError};
use super::layout::SetName;
use super::report::PublishReport;
use super::schedule::{Schedule, Work};
use super::writer::{Publication, Published, Writer};
use crate::config::PublishConfig;
use crate::notify::Notifier;

const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Longer than any disk that works; the attempt goes on, but somebody should know.
const LATE: Duration = Duration::from_secs(10);

type Slot = Option<Writer<Directory>>;

pub(super) struct Task {
    config: PublishConfig,
    status: StatusHandle,
    schedule: Schedule,
    writer: Slot,
    report: watch::Sender<PublishReport>,
    notifier: Notifier,
    /// What was published last.
    published: Option<Generation>,
    /// What readers see, if it is not recorded yet that they know of it.
    unrecorded: Option<Generation>,
}

impl Task {
    pub(super) fn new(
        config: PublishConfig,
        status: StatusHandle,
        report: watch::Sender<PublishReport>,
        notifier: Notifier,
    ) -> Self {
        Self {
            config,
            status,
            schedule: Schedule::default(),
            writer: None,
            report,
            notifier,
            published: None,
            unrecorded: None,
        }
    }

    /// Runs for as long as there may be new material.
    pub(super) async fn run(mut self) {
        let mut generations = self.status.subscribe();
        // What an interrupted write left behind goes away also if there is nothing to publish yet.
        if let Err(error) = self.work(|_| Ok(())).await {
            self.fail(&error);
        }
        loop {
            let newest = generations.borrow_and_update().number();
            self.schedule.handle_generation(newest);
            match self.schedule.poll(Instant::now().into_std()) {
                Some(Work::Publish) => self.publish().await,
                Some(Work::ForgetFormer) => self.forget_former().await,
                None => {
                    let next = self.schedule.poll_timeout();
                    let timer = async {
                        match next {
                            Some(next) => sleep_until(next.into()).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        changed = generations.changed() => if changed.is_err() { return },
                        () = timer => {}
                        () = settled(&self.notifier, self.unrecorded) => self.record_told().await,
                    }
                }
            }
        }
    }

    async fn publish(&mut self) {
        let Some(snapshot) = self.status.snapshot() else {
            return;
        };
        let result = match Contents::of(snapshot.material(), self.config.access) {
            None => Err(PublishError::NoKey),
            Some(contents) => {
                let was_published = self.published.is_some();
                self.work(move |writer| {
                    if was_published {
                        writer.expect_readers();
                    }
                    writer.publish(&contents, &SetName::at(SystemTime::now()))
                })
                .await
            }
        };
        match result {
            Ok(Publication { published, known }) => {
                let generation = snapshot.generation();
                let was_published = self.published.replace(generation) == Some(generation);
                self.succeed(generation, published);
                if was_published && published == Published::Unchanged {
                    return;
                }
                if was_published {
                    warn!(%generation, "the published set had been changed or removed: put back");
                }
                self.unrecorded = Some(generation);
                self.notifier.handle_published(snapshot, Some(known));
            }
            Err(error) => self.fail(&error),
        }
    }

    async fn record_told(&mut self) {
        self.unrecorded = None;
        if let Err(error) = self.work(|writer| writer.record_told()).await {
            warn!(%error, "a restart will tell the other processes of this set once more");
        }
    }

    async fn forget_former(&mut self) {
        self.schedule.handle_forgotten();
        if let Err(error) = self.work(Writer::forget_former).await {
            warn!(%error, "the set before the current one stays in the publish directory for now");
        }
    }

    /// Does `work` on a blocking thread, in the directory that is there now.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer<Directory>) -> Result<T, PublishError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let path = self.config.directory.clone();
        let mut slot = self.writer.take();
        let mut working = spawn_blocking(move || {
            let result = open(&mut slot, &path).and_then(work);
            (slot, result)
        });
        let done = match timeout(LATE, &mut working).await {
            Ok(done) => done,
            Err(_) => {
                self.tell(&PublishError::Late {
                    path: self.config.directory.clone(),
                    seconds: LATE.as_secs(),
                });
                working.await
            }
        };
        match done {
            Ok((slot, result)) => {
                self.writer = slot;
                result
            }
            // The runtime is shutting down.
            Err(error) => Err(PublishError::Io {
                path: self.config.directory.clone(),
                action: Action::Write,
                cause: io::Error::other(error),
            }),
        }
    }

    fn succeed(&mut self, generation: Generation, published: Published) {
        let is_new = published == Published::New;
        let failures = self.schedule.failures();
        let now = Instant::now().into_std();
        self.schedule
            .handle_published(generation.number(), is_new, now);
        self.report
            .send_modify(|report| report.succeeded(generation, published, SystemTime::now()));
        let directory = self.config.directory.display();
        if is_new || failures > 0 {
            info!(%generation, %directory, failures, "published for other processes");
        } else {
            debug!(%generation, %directory, "this set is published already");
        }
    }

    fn fail(&mut self, error: &PublishError) {
        let now = Instant::now().into_std();
        self.schedule
            .handle_failure(now, |failures| BACKOFF.wait(failures));
        self.tell(error);
    }

    fn tell(&self, failure: &PublishError) {
        let text = failure.to_string();
        let mut is_news = false;
        self.report.send_modify(|report| {
            is_news = report.failed(&text, SystemTime::now());
        });
        if is_news {
            error!(
                error = text,
                "not published for other processes: they keep the set they have; trying again"
            );
        } else {
            debug!(error = text, "still not published for other processes");
        }
    }
}

/// Resolves once nobody has to be told of `generation` any more.
async fn settled(notifier: &Notifier, generation: Option<Generation>) {
    match generation {
        Some(generation) => notifier.settled(generation).await,
        None => std::future::pending().await,
    }
}

/// The writer of the directory that lies at `path` now, cleaned up when it was opened.
fn open<'a>(slot: &'a mut Slot, path: &Path) -> Result<&'a mut Writer<Directory>, PublishError> {
    let is_gone = |writer: &Writer<Directory>| !writer.storage().is_in_place();
    if slot.as_ref().is_some_and(is_gone) {
        // Its lock first: the directory may be the same one, mounted elsewhere.
        *slot = None;
    }
    if let Some(writer) = slot {
        return Ok(writer);
    }
    let mut writer = Writer::new(Directory::open(path)?, path.to_owned());
    let bystanders = writer.bystanders()?;
    if !bystanders.is_empty() {
        warn!(
            directory = %path.display(),
            files = bystanders.join(" "),
            "the publish directory holds files that this agent did not make: left alone"
        );
    }
    writer.tidy_if_possible();
    Ok(slot.insert(writer))
}
