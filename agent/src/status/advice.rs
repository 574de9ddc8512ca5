//! What to do next, most urgent first. Pure: the document and the time in, sentences out.

use std::time::SystemTime;

use nats_mtls::material::Reason;

use super::document::{Connection, Document};
use super::others::{Confirm, Notify};
use crate::words::{brief, ends_soon};

const ASK_NATS: &str = "Check host, port, DNS and network policy, and that nats-server runs; the client goes on trying.";

/// Never empty.
pub(super) fn steps(document: &Document, now: SystemTime) -> Vec<String> {
    let mut steps = Vec::new();
    steps.extend(unready(document));
    steps.extend(on_disk(document));
    steps.extend(on_wire(document));
    steps.extend(document.notify.iter().flat_map(Notify::steps));
    steps.extend(document.confirm.as_ref().and_then(Confirm::step));
    steps.extend(publishing(document));
    steps.extend(ending(document, now));
    steps.extend(watching(document));
    if steps.is_empty() {
        steps.push("Nothing.".to_owned());
    }
    steps
}

fn unready(document: &Document) -> Option<String> {
    if document.ready {
        return None;
    }
    let text = match document.reason.as_deref()? {
        // What is on disk says more.
        "no_material" if document.disk.reason.is_some() => return None,
        "no_material" => "Wait: the files were not judged yet.".to_owned(),
        "connecting" | "disconnected" => {
            let failed = document.connections().iter();
            let failed = failed.filter(|connection| !connection.is_connected());
            let errors: Vec<_> = failed.filter_map(|c| c.last_error.as_deref()).collect();
            if errors.iter().any(|error| is_refusal(error)) {
                "NATS answers but refuses: `nats-mtls-agent check --server …` with the agent's flags says \
                 why and what to do."
                    .to_owned()
            } else {
                ASK_NATS.to_owned()
            }
        }
        "expired" => "Renew the certificate now: live connections hold until the next reconnect, \
                      then nothing comes up."
            .to_owned(),
        "draining" => "Nothing: the process is ending.".to_owned(),
        "closed" => "Restart the process: the connection is closed for good.".to_owned(),
        other => format!("Look at the agent's log for {}.", brief(other)),
    };
    Some(text)
}

/// As the library words its failures.
fn is_refusal(error: &str) -> bool {
    [
        "refused the client certificate",
        "not trusted",
        "authorization violation",
    ]
    .iter()
    .any(|words| error.contains(words))
}

fn on_disk(document: &Document) -> Option<String> {
    let disk = &document.disk;
    match disk.verdict.as_deref()? {
        "rejected" | "unreadable" => {
            let reason = disk.reason.as_deref()?;
            let detail = disk.detail.as_deref().unwrap_or("no detail");
            let advice = advice(document, reason);
            let serves = if document.active_leaf().is_some() {
                " Until then the active certificate serves."
            } else {
                ""
            };
            Some(format!("{}. {advice}{serves}", brief(detail)))
        }
        "pending" => Some(
            "Wait for a server that answers whether it accepts the new files; they are used then."
                .to_owned(),
        ),
        "settling" => Some("Wait: the files look half-written.".to_owned()),
        _ => None,
    }
}

/// The words of this version if it knows the reason, else those of the agent.
fn advice(document: &Document, reason: &str) -> String {
    if let Some(known) = Reason::ALL.iter().find(|known| known.as_str() == reason) {
        return known.advice().to_owned();
    }
    let last = document.last_rejection.as_ref();
    last.filter(|last| last.reason.as_deref() == Some(reason))
        .and_then(|last| last.advice.as_deref())
        .map_or_else(|| "Look at the agent's log.".to_owned(), brief)
}

fn on_wire(document: &Document) -> Option<String> {
    let is_older = |connection: &Connection| {
        connection.is_connected() && connection.generation < document.generation
    };
    document.connections().iter().any(is_older).then(|| {
        "Wait for the move of the older connections; if it takes minutes, read the agent's log."
            .to_owned()
    })
}

fn publishing(document: &Document) -> Option<String> {
    let error = document.publish.as_ref()?.error.as_deref()?;
    Some(format!(
        "Other processes do not get the new set: {}",
        brief(error)
    ))
}

fn ending(document: &Document, now: SystemTime) -> Option<String> {
    let first = document.ends_first()?;
    let (not_before, not_after) = first.validity()?;
    // Said already if the process is not ready because of it.
    let is_said = document.reason.as_deref() == Some("expired");
    (ends_soon(not_before, not_after, now) && !is_said).then(|| {
        let subject = first.subject.as_deref().map_or_else(String::new, brief);
        format!("Renew {subject}: it ends soon, and nothing newer was accepted.")
    })
}

fn watching(document: &Document) -> Option<String> {
    let mode = document.watcher.as_ref()?.mode.as_deref()?;
    (mode == "poll").then(|| {
        "Changes are seen by polling only: raise fs.inotify.max_user_instances and max_user_watches \
         if that is too slow."
            .to_owned()
    })
}
