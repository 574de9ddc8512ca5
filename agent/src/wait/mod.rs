//! `wait`: for init containers. Returns once the files are valid and NATS accepts them, or when the
//! startup policy gives up. Leaves application code unchanged, and nothing behind.

mod failure;
mod progress;

use std::time::{Duration, SystemTime};

use nats_mtls::{CertificateManager, StatusHandle};
use tokio::time::Instant;
use tracing::{error, info};

use crate::args::WaitArgs;
use crate::config::WaitConfig;
use crate::logging;
use crate::outcome::{Outcome, block_on, say};
use crate::signals::EndSignals;
use crate::start::{self, StartError};
use crate::words::{brief, validity};
use progress::{Face, Wait};

/// Short: nobody waits for long, and inotify may be missing.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Nothing is buffered that would be lost.
const DRAIN: Duration = Duration::from_secs(2);

/// The command, from arguments to exit code.
pub(crate) fn command(args: &WaitArgs) -> Outcome {
    let face = Face::of(&args.log);
    let level = match face {
        Face::Line => "off",
        Face::Log => "info",
    };
    let config = match WaitConfig::new(args).and_then(|config| {
        logging::start(&args.log, level)?;
        Ok(config)
    }) {
        Ok(config) => config,
        Err(error) => return Outcome::wrong_usage(&error),
    };
    block_on(wait(config, face))
}

async fn wait(config: WaitConfig, face: Face) -> Outcome {
    let mut end = match EndSignals::new() {
        Ok(end) => end,
        Err(error) => return Outcome::broken("cannot listen to signals", &error),
    };
    let started = Instant::now();
    let wait = Wait::new(&config, started);
    match face {
        Face::Line => say(&wait.announcement()),
        Face::Log => {
            start::announce(&config.startup);
            info!("{}", wait.announcement());
        }
    }
    let builder = CertificateManager::builder()
        .files(config.files)
        .policy(config.policy)
        .poll_interval(POLL_INTERVAL)
        .spread(Duration::ZERO)
        .startup(config.startup.policy);
    let status = builder.status_handle();
    let work = async {
        let starting = start::start(builder, config.upstream.as_ref(), &config.startup);
        let (manager, connection) = starting.await?;
        let ready = ready(&status, config.upstream.is_some());
        if let Some(connection) = connection {
            connection.drain(DRAIN).await;
        }
        drop(manager);
        Ok(ready)
    };
    let result = tokio::select! {
        result = work => Some(result),
        never = progress::show(face, &wait, &status) => match never {},
        name = end.next() => {
            progress::clear(face);
            tell(face, &format!("{name}: stopped waiting"));
            None
        }
    };
    progress::clear(face);
    match result {
        None => Outcome::Failed,
        Some(Ok(ready)) => {
            tell(
                face,
                &format!("ready after {:.1?}: {ready}", started.elapsed()),
            );
            Outcome::Done
        }
        Some(Err(error)) => fail(face, &error),
    }
}

/// What was waited for, now that it is there.
fn ready(status: &StatusHandle, asked: bool) -> String {
    let status = status.status();
    let leaf = status.active.map(|active| active.leaf);
    let set = leaf.map_or_else(String::new, |leaf| {
        let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_deref()?).ok();
        let subject = brief(&leaf.subject);
        match (time(&leaf.not_before), time(&leaf.not_after)) {
            (Some(not_before), Some(not_after)) => {
                let ends = validity(not_before, not_after, SystemTime::now());
                format!("{subject} {ends}")
            }
            _ => subject,
        }
    });
    let server = status
        .connections
        .into_iter()
        .find_map(|connection| connection.server);
    match server {
        Some(server) => format!("{set}, accepted by {}", brief(&server)),
        None if asked => set,
        None => format!("{set}; no server was asked"),
    }
}

fn tell(face: Face, text: &str) {
    match face {
        Face::Line => say(&text),
        Face::Log => info!("{text}"),
    }
}

fn fail(face: Face, error: &StartError) -> Outcome {
    match face {
        Face::Line => say(&failure::page(error)),
        Face::Log => error!(advice = failure::advice(error), "{error}"),
    }
    error.outcome()
}
