//! The log: to standard error, as text or JSON, filtered by level and target.
//!
//! Standard output belongs to what a command prints.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{LogArgs, LogFormat};
use crate::config::ConfigError;

/// Starts logging; once per process.
pub(crate) fn start(args: &LogArgs, default_level: &str) -> Result<(), ConfigError> {
    let filter = filter(args.log_level.as_deref().unwrap_or(default_level))?;
    let layer = layer().with_writer(io::stderr);
    let layer = match args.log_format {
        LogFormat::Text => layer.with_ansi(colours_wanted()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only where somebody else set a logger, and nobody does.
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .ok();
    Ok(())
}

/// <https://no-color.org>
fn colours_wanted() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A bare level means our own words at that level, and warnings of everybody else: async-nats logs
/// each attempt, and notify each event, which feeds itself if the log lies beside the certificates.
/// notify also warns of each directory that has gone before it was told, which is every rotation on
/// Kubernetes; what is left unwatched is polled.
fn filter(text: &str) -> Result<Targets, ConfigError> {
    let is_talkative = matches!(text.to_lowercase().as_str(), "info" | "debug" | "trace");
    let text = if is_talkative {
        // A prefix: library and agent.
        format!("warn,notify=error,nats_mtls={text}")
    } else {
        text.to_owned()
    };
    let wrong = || ConfigError {
        flag: "--log-level (NATS_MTLS_LOG_LEVEL)",
        problem: format!("{text:?} is neither a level nor a filter"),
        example: "--log-level debug or --log-level info,nats_mtls=debug,async_nats=info",
    };
    let filter: Targets = text.parse().map_err(|_| wrong())?;
    // A misspelt level alone would be taken for a target.
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    let bare = text.split(',').filter(|part| !part.contains('='));
    for part in bare {
        if !known.contains(&part.trim().to_lowercase().as_str()) {
            return Err(wrong());
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_bare_level_keeps_others_quiet() {
        let filter = filter("debug").unwrap();
        assert!(filter.would_enable("nats_mtls::reload", &Level::DEBUG));
        assert!(filter.would_enable("nats_mtls_agent::run", &Level::DEBUG));
        assert!(!filter.would_enable("notify::inotify", &Level::WARN));
        assert!(!filter.would_enable("async_nats::connector", &Level::INFO));
        assert!(filter.would_enable("async_nats::connector", &Level::WARN));
    }

    #[test]
    fn a_filter_is_taken_as_it_is() {
        let filter = filter("info,async_nats=debug").unwrap();
        assert!(filter.would_enable("async_nats", &Level::DEBUG));
        assert!(!filter.would_enable("nats_mtls", &Level::DEBUG));
    }

    #[test]
    fn nonsense_is_wrong_usage() {
        for text in ["", "loud", "info,loud", "nats_mtls=loud"] {
            assert!(super::filter(text).is_err(), "{text:?}");
        }
    }
}
