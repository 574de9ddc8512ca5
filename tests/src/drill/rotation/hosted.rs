//! A Rust service that links the library, on a thread and a runtime of its own: what it logs is told
//! apart from what the others log, as if it were a process.

use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use nats_mtls::{ConnectSettings, ManagerBuilder, StatusHandle};
use tokio::sync::oneshot;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{fmt, registry};

use crate::logs::LogCapture;

/// What the agent logs.
const FILTER: &str = "warn,notify=error,nats_mtls=info";

/// Ends, and closes its connection, when it is dropped.
pub(super) struct Hosted {
    pub(super) status: StatusHandle,
    log: LogCapture,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hosted {
    /// Returns once it is connected.
    pub(super) async fn start(
        builder: ManagerBuilder,
        servers: String,
        settings: ConnectSettings,
    ) -> Result<Self> {
        let log = LogCapture::default();
        let subscriber = registry().with(FILTER.parse::<Targets>()?).with(
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(log.clone()),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let status = builder.status_handle();
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = oneshot::channel();
        let thread = thread::Builder::new().name("service".to_owned());
        let thread = thread.spawn(move || {
            // Every task of this runtime runs on this thread.
            let _subscriber = tracing::subscriber::set_default(subscriber);
            runtime.block_on(async {
                let connected = async {
                    let manager = builder.build().await?;
                    let connection = manager.connect(servers, settings).await?;
                    anyhow::Ok((manager, connection))
                };
                match connected.await {
                    Ok(_service) => {
                        started.send(Ok(())).ok();
                        stopped.await.ok();
                    }
                    Err(error) => {
                        started.send(Err(error)).ok();
                    }
                }
            });
        })?;
        let hosted = Self {
            status,
            log,
            stop: Some(stop),
            thread: Some(thread),
        };
        starting.await.context("the service's thread ended")??;
        Ok(hosted)
    }

    /// All that it logged, as lines of JSON.
    pub(super) fn log(&self) -> String {
        self.log.text()
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
