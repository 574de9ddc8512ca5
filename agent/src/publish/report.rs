//! What is known about publishing: for the status, for metrics, and for whoever tells other
//! processes that there is something new.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use nats_mtls::Generation;
use nats_mtls::report::timestamp;
use serde::Serialize;

use super::writer::Published;

const PUBLISHES: &str = "nats_mtls_publish_total";
const LAST_SUCCESSFUL: &str = "nats_mtls_last_publish_successful";

/// Replaced as a whole, so that a reader sees one moment.
#[derive(Debug, Clone)]
pub(crate) struct PublishReport {
    directory: PathBuf,
    generation: Option<Generation>,
    at: Option<SystemTime>,
    failing: Option<Failing>,
    published: u64,
    unchanged: u64,
    failed: u64,
}

#[derive(Debug, Clone)]
struct Failing {
    error: String,
    since: SystemTime,
}

/// `publish` of `/status`.
#[derive(Debug, Serialize)]
pub(crate) struct PublishStatus<'a> {
    directory: String,
    /// `waiting`, `published` or `failed`.
    result: &'static str,
    /// What readers see; null before the first of this process.
    generation: Option<u64>,
    /// Since when they see it; RFC 3339.
    at: Option<String>,
    /// Why they do not see what is active.
    error: Option<&'a str>,
    /// Since when that is so; RFC 3339.
    failing_since: Option<String>,
}

impl PublishReport {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            generation: None,
            at: None,
            failing: None,
            published: 0,
            unchanged: 0,
            failed: 0,
        }
    }

    pub(super) fn succeeded(
        &mut self,
        generation: Generation,
        published: Published,
        now: SystemTime,
    ) {
        let was_known = self.generation == Some(generation);
        self.failing = None;
        if published == Published::Unchanged && was_known {
            // It was only looked at; they see it since then.
            return;
        }
        match published {
            Published::New => self.published += 1,
            Published::Unchanged => self.unchanged += 1,
        }
        self.generation = Some(generation);
        self.at = Some(now);
    }

    /// Says whether somebody should hear of it: the first of a row, or for another reason.
    pub(super) fn failed(&mut self, error: &str, now: SystemTime) -> bool {
        self.failed += 1;
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        let known = self.failing.replace(Failing {
            error: error.to_owned(),
            since,
        });
        known.is_none_or(|known| known.error != error)
    }

    /// Why nobody was ever given a set by this process; none once somebody was, whatever came later.
    pub(crate) fn why_never(&self) -> Option<String> {
        let why = match (self.generation, &self.failing) {
            (Some(_), _) => return None,
            (None, Some(failing)) => failing.error.clone(),
            (None, None) => "not tried yet".to_owned(),
        };
        Some(format!(
            "nothing is published for other processes yet: {why}"
        ))
    }

    pub(crate) fn status(&self) -> PublishStatus<'_> {
        let result = match (&self.failing, self.generation) {
            (Some(_), _) => "failed",
            (None, Some(_)) => "published",
            (None, None) => "waiting",
        };
        PublishStatus {
            directory: self.directory.display().to_string(),
            result,
            generation: self.generation.map(Generation::number),
            at: self.at.and_then(timestamp),
            error: self.failing.as_ref().map(|failing| failing.error.as_str()),
            failing_since: self
                .failing
                .as_ref()
                .and_then(|failing| timestamp(failing.since)),
        }
    }

    /// Sets the metrics to the totals: an emission that is left out or repeated does no harm.
    pub(crate) fn emit_metrics(&self) {
        describe_counter!(
            PUBLISHES,
            Unit::Count,
            "Attempts to publish the active set for other processes, by what came of them."
        );
        describe_gauge!(
            LAST_SUCCESSFUL,
            Unit::Count,
            "1 if the last attempt to publish succeeded; 0 before that."
        );
        for (result, count) in [
            ("published", self.published),
            ("unchanged", self.unchanged),
            ("failed", self.failed),
        ] {
            counter!(PUBLISHES, "result" => result).absolute(count);
        }
        let successful = self.failing.is_none() && self.generation.is_some();
        gauge!(LAST_SUCCESSFUL).set(if successful { 1.0 } else { 0.0 });
    }
}
