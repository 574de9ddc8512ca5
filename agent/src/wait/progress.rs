//! How the waiting goes: one updating line on a terminal, log lines elsewhere. What is said is pure
//! and made of the library's status; how it is shown is the rest.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use humantime::format_duration;
use nats_mtls::report::Status;
use nats_mtls::{StartupPolicy, StatusHandle};
use terminal_size::{Width, terminal_size_of};
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::args::{LogArgs, LogFormat};
use crate::config::{Startup, WaitConfig};
use crate::words::brief;

const LINE_EVERY: Duration = Duration::from_millis(250);
const LOG_EVERY: Duration = Duration::from_secs(10);
const ERASE: &str = "\r\u{1b}[2K";
const USUAL_WIDTH: usize = 80;

/// Where the progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// One line on a terminal, and nothing else: a log would tear it.
    Line,
    Log,
}

impl Face {
    /// Whoever asks for a certain log gets one.
    pub(super) fn of(log: &LogArgs) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        let wants_log = log.log_level.is_some() || log.log_format == LogFormat::Json;
        if io::stderr().is_terminal() && !is_dumb && !wants_log {
            Self::Line
        } else {
            Self::Log
        }
    }
}

/// What is waited for, and until when.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    /// None: for files only.
    servers: Option<String>,
    startup: Startup,
    started: Instant,
}

impl Wait {
    pub(super) fn new(config: &WaitConfig, started: Instant) -> Self {
        let upstream = config.upstream.as_ref();
        Self {
            servers: upstream.map(|upstream| brief(&upstream.servers.to_string())),
            startup: config.startup,
            started,
        }
    }

    /// What the whole is about.
    pub(super) fn announcement(&self) -> String {
        let limit = match (self.startup.policy, self.startup.limit()) {
            (_, Some(limit)) if limit == self.startup.budget.total() => {
                format!("up to {} ({})", text(limit), self.startup.budget)
            }
            (_, Some(limit)) => format!("up to {}", text(limit)),
            (StartupPolicy::FailFast, None) => "for one try".to_owned(),
            (_, None) => "without a limit".to_owned(),
        };
        match &self.servers {
            Some(servers) => format!("waiting {limit} for a valid set that {servers} accepts"),
            None => format!("waiting {limit} for a valid set; no --server, so none is asked"),
        }
    }

    /// How it stands.
    fn line(&self, status: &Status, now: Instant) -> String {
        let left = self.startup.limit().map(|limit| {
            let left = limit.saturating_sub(now.saturating_duration_since(self.started));
            // Whole seconds: the line is read by people.
            format!(", {} left", text(Duration::from_secs(left.as_secs())))
        });
        let left = left.unwrap_or_default();
        if status.generation == 0 {
            let disk = &status.disk;
            let wrong = match (disk.reason, &disk.detail) {
                (Some(reason), Some(detail)) => format!("; {reason}: {}", brief(detail)),
                _ => String::new(),
            };
            return format!("waiting for a valid set{left}{wrong}");
        }
        let connection = status.connections.first();
        let failed = connection.map_or(0, |connection| connection.failed_attempts);
        let error = connection.and_then(|connection| connection.last_error.as_deref());
        let error = error.map_or_else(String::new, |error| format!("; {}", brief(error)));
        let attempts = match failed {
            1 => "1 failed attempt".to_owned(),
            more => format!("{more} failed attempts"),
        };
        format!("waiting for NATS: {attempts}{left}{error}")
    }
}

/// Shows it until the future is dropped.
pub(super) async fn show(face: Face, wait: &Wait, status: &StatusHandle) -> Infallible {
    loop {
        match face {
            Face::Line => {
                let line = wait.line(&status.status(), Instant::now());
                let line: String = line.chars().take(columns()).collect();
                put(&format!("{ERASE}{line}"));
                sleep(LINE_EVERY).await;
            }
            Face::Log => {
                sleep(LOG_EVERY).await;
                info!("{}", wait.line(&status.status(), Instant::now()));
            }
        }
    }
}

/// Takes the line away.
pub(super) fn clear(face: Face) {
    if face == Face::Line {
        put(ERASE);
    }
}

/// One less than there are: a full line would wrap, and could not be taken back.
fn columns() -> usize {
    let width = terminal_size_of(io::stderr());
    let width = width.map_or(USUAL_WIDTH, |(Width(width), _)| usize::from(width));
    width.saturating_sub(1)
}

/// Nobody is left to tell if standard error is closed.
fn put(text: &str) {
    let mut stderr = io::stderr();
    stderr.write_all(text.as_bytes()).ok();
    stderr.flush().ok();
}

fn text(duration: Duration) -> String {
    format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use nats_mtls::{CertificateManager, StartupBudget};

    use super::*;

    const BUDGET: StartupBudget = StartupBudget {
        connect_timeout: Duration::from_secs(5),
        servers: 2,
        passes: 3,
        margin: Duration::from_secs(15),
    };

    fn wait(servers: Option<&str>, policy: StartupPolicy) -> Wait {
        Wait {
            servers: servers.map(str::to_owned),
            startup: Startup {
                policy,
                budget: BUDGET,
            },
            started: Instant::now(),
        }
    }

    #[test]
    fn the_budget_is_shown_with_its_arithmetic() {
        let retry = StartupPolicy::RetryFor;
        let cases = [
            (
                wait(Some("a:4222, b:4222"), retry(BUDGET.total())),
                "waiting up to 45s (5s x 2 servers x 3 passes + 15s = 45s) for a valid set that a:4222, b:4222 accepts",
            ),
            (
                wait(None, retry(Duration::from_secs(120))),
                "waiting up to 2m for a valid set; no --server, so none is asked",
            ),
            (
                wait(None, StartupPolicy::FailFast),
                "waiting for one try for a valid set; no --server, so none is asked",
            ),
            (
                wait(Some("a:4222"), StartupPolicy::RetryForever),
                "waiting without a limit for a valid set that a:4222 accepts",
            ),
        ];
        for (wait, words) in cases {
            assert_eq!(wait.announcement(), words);
        }
    }

    #[test]
    fn the_line_says_what_is_missing_and_how_long_is_left() {
        let wait = wait(Some("a:4222"), StartupPolicy::RetryFor(BUDGET.total()));
        let at = |milliseconds| wait.started + Duration::from_millis(milliseconds);
        let mut status = CertificateManager::builder().status_handle().status();
        assert_eq!(
            wait.line(&status, at(500)),
            "waiting for a valid set, 44s left"
        );
        status.disk.reason = Some("read_error");
        status.disk.detail = Some("tls.crt:\nmissing".to_owned());
        assert_eq!(
            wait.line(&status, at(60_000)),
            "waiting for a valid set, 0s left; read_error: tls.crt:\u{fffd}missing"
        );
        status.generation = 1;
        assert_eq!(
            wait.line(&status, at(0)),
            "waiting for NATS: 0 failed attempts, 45s left"
        );
    }
}
