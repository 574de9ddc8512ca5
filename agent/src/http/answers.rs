//! What is answered: the library's status, health and metrics, as HTTP.

use std::borrow::Cow;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nats_mtls::StatusHandle;
use nats_mtls::material::Warning;
use nats_mtls::report::{Liveness, NotReady, Status};

use super::exporter::{self, Exporter};
use super::facts::Facts;

const PATHS: &str = "not found; there are /livez /readyz /startupz /status /metrics\n";

pub(super) fn router(facts: Facts, exporter: Exporter) -> Router {
    let status = facts.status.clone();
    let metrics = get(show_metrics).with_state((exporter, facts.clone()));
    let start = get(startupz).with_state(facts.clone());
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", start)
        .route("/status", get(show_status).with_state(facts))
        .route("/metrics", metrics)
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .with_state(status)
}

async fn show_status(State(facts): State<Facts>) -> Response {
    facts.with_document(|document| ([(CACHE_CONTROL, "no-store")], Json(document)).into_response())
}

/// Always 200: that NATS is down, or that there is no material, is in the values.
async fn show_metrics(State((exporter, facts)): State<(Exporter, Facts)>) -> Response {
    let headers = [
        (CONTENT_TYPE, exporter::CONTENT_TYPE),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, exporter.scrape(&facts)).into_response()
}

async fn livez(State(status): State<StatusHandle>) -> Response {
    let liveness = status.health().liveness;
    match liveness {
        Liveness::Alive => line(StatusCode::OK, "alive"),
        dead => unavailable(dead.as_str(), &liveness_words(dead)),
    }
}

async fn readyz(State(status): State<StatusHandle>) -> Response {
    match status.health().not_ready {
        None => line(StatusCode::OK, &why_ready(&status.status())),
        Some(reason) => unavailable(reason.as_str(), &why_not_ready(reason, &status.status())),
    }
}

async fn startupz(State(facts): State<Facts>) -> Response {
    match facts.why_not_started() {
        Some((reason, words)) => unavailable(reason, &words),
        None => line(StatusCode::OK, "started"),
    }
}

fn unavailable(reason: &str, words: &str) -> Response {
    line(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!("{reason}: {words}"),
    )
}

/// One line, whatever the text holds: it may quote a server or a file name.
fn line(code: StatusCode, text: &str) -> Response {
    let mut text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.push('\n');
    (code, [(CACHE_CONTROL, "no-store")], text).into_response()
}

/// Why the process should be restarted, for people.
pub(crate) fn liveness_words(liveness: Liveness) -> Cow<'static, str> {
    let words = match liveness {
        Liveness::ReloadEnded => "the task that reads the files ended; only a restart helps",
        Liveness::ReloadStalled => {
            "the task that reads the files does not come round, although a file system that hangs is cut \
             off after seconds; only a restart helps"
        }
        Liveness::ConnectionClosed => {
            "the NATS connection is closed for good; only a restart helps"
        }
        Liveness::TaskEnded(task) => {
            return format!("the task {task:?} ended by a bug; only a restart helps").into();
        }
        _ => "see /status",
    };
    words.into()
}

/// A restored set serves, but nobody should take that for a good state of affairs.
fn why_ready(status: &Status) -> String {
    if !status.warnings.contains(&Warning::Restored.as_str()) {
        return "ready".to_owned();
    }
    let disk = &status.disk;
    let why = disk.detail.as_deref().unwrap_or(disk.verdict);
    format!("ready: on the last good set from before the start, because of the files: {why}")
}

/// Why it is not ready, for people; may quote a server or a file name.
pub(crate) fn why_not_ready(reason: NotReady, status: &Status) -> String {
    let last_error = || {
        let errors = status.connections.iter().filter_map(|connection| {
            let error = connection.last_error.as_deref()?;
            Some(format!("{}: {error}", connection.name))
        });
        errors.collect::<Vec<_>>().join("; ")
    };
    let or = |text: String, otherwise: &str| {
        if text.is_empty() {
            otherwise.to_owned()
        } else {
            text
        }
    };
    match reason {
        NotReady::NoMaterial => {
            let disk = &status.disk;
            match (disk.reason, &disk.detail) {
                (Some(reason), Some(detail)) => format!("{reason}: {detail}"),
                _ => "the files were not judged yet".to_owned(),
            }
        }
        NotReady::Connecting => or(last_error(), "no connection to NATS yet"),
        NotReady::Disconnected => or(last_error(), "the connection to NATS is down"),
        NotReady::Expired => "the active certificate has expired and no valid one is there".into(),
        NotReady::Draining => "the process is ending".into(),
        NotReady::Closed => "the NATS connection is closed for good".into(),
        _ => "see /status".into(),
    }
}
