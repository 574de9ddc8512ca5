//! The page for a tired reader: the answer first, then disk, active and wire side by side, then what
//! else is known, and at the end what to do. Pure: `now` is an argument.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use super::advice;
use super::document::{Certificate, Connection, Document, Handovers, time};
use crate::words::{brief, of_warning_named, rough, validity, write_table};

/// More connections than anyone reads; `--json` has all of them.
const CONNECTIONS_SHOWN: usize = 20;
/// The version this page was written for.
const SCHEMA_VERSION: u64 = nats_mtls::report::SCHEMA_VERSION as u64;

pub(super) fn draw(document: &Document, url: &str, now: SystemTime) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    draw_into(&mut page, document, url, now).ok();
    page
}

fn draw_into(page: &mut String, document: &Document, url: &str, now: SystemTime) -> fmt::Result {
    let verdict = match (&document.reason, document.ready) {
        (_, true) => "READY".to_owned(),
        (Some(reason), false) => format!("NOT READY: {}", brief(reason)),
        (None, false) => "NOT READY".to_owned(),
    };
    writeln!(page, "{verdict}  ({url})")?;
    if document.schema_version > SCHEMA_VERSION {
        writeln!(
            page,
            "The agent is newer than this command: --json has what is missing here."
        )?;
    }
    draw_truths(page, document, now)?;
    draw_connections(page, document, now)?;
    draw_publish(page, document, now)?;
    draw_relay(page, document, now)?;
    draw_reloads(page, document, now)?;
    draw_others(page, document, now)?;
    draw_warnings(page, document)?;
    writeln!(page, "\nWhat to do")?;
    for step in advice::steps(document, now) {
        writeln!(page, "  {step}")?;
    }
    Ok(())
}

fn draw_truths(page: &mut String, document: &Document, now: SystemTime) -> fmt::Result {
    writeln!(page, "\nCertificate")?;
    let disk = &document.disk;
    let mut rows = vec![(
        "disk",
        certificate(disk.leaf.as_ref(), now),
        on_disk(document, now),
    )];
    let active = document.active_leaf();
    rows.push(("active", certificate(active, now), published(document, now)));
    let connections = document.connections();
    for connection in connections.iter().take(CONNECTIONS_SHOWN) {
        let (shown, relation) = on_wire(connection, document, now);
        rows.push(("wire", shown, relation));
    }
    if connections.is_empty() {
        rows.push(("wire", "nothing".to_owned(), "no connection".to_owned()));
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, shown, relation)| (name.to_owned(), format!("{shown}; {relation}")))
        .collect();
    write_table(page, &rows)
}

/// Short fingerprint, name, and when it ends.
fn certificate(certificate: Option<&Certificate>, now: SystemTime) -> String {
    let Some(certificate) = certificate else {
        return "nothing".to_owned();
    };
    let subject = certificate
        .subject
        .as_deref()
        .map_or_else(|| "no name".into(), brief);
    let ends = certificate.validity().map_or_else(
        || "ends at an unknown time".to_owned(),
        |(not_before, not_after)| validity(not_before, not_after, now),
    );
    format!("{}  {subject}  {ends}", fingerprint(certificate))
}

/// Enough of it to tell two apart.
fn fingerprint(certificate: &Certificate) -> String {
    let whole = certificate
        .fingerprint_sha256
        .as_deref()
        .unwrap_or("unknown");
    brief(&whole.chars().take(12).collect::<String>())
}

fn on_disk(document: &Document, now: SystemTime) -> String {
    let disk = &document.disk;
    let verdict = disk.verdict.as_deref().unwrap_or("unknown");
    if verdict == "active" {
        return "the same as active".to_owned();
    }
    let mut text = verdict.to_uppercase();
    if let Some(reason) = &disk.reason {
        text = format!("{text} {reason}");
    }
    if let Some(since) = time(&disk.differs_since) {
        text = format!("{text}, differs since {}", ago(since, now));
    }
    brief(&text)
}

fn published(document: &Document, now: SystemTime) -> String {
    let generation = document.generation.unwrap_or_default();
    if generation == 0 {
        return "nothing was published yet".to_owned();
    }
    let mut text = format!("generation {generation}");
    if let Some(failed) = document.rolled_back_from {
        write!(text, ", ROLLED BACK from {failed}").ok();
    }
    let active = document.active.as_ref();
    if let Some(since) = active.and_then(|active| time(&active.since)) {
        write!(text, ", published {}", ago(since, now)).ok();
    }
    text
}

/// What a connection presented, and how that relates to what is active.
fn on_wire(connection: &Connection, document: &Document, now: SystemTime) -> (String, String) {
    let name = connection
        .name
        .as_deref()
        .map_or_else(|| "unnamed".into(), brief);
    let Some(generation) = connection.generation.filter(|_| connection.is_connected()) else {
        let relation = connection
            .generation
            .map_or_else(String::new, |generation| {
                format!(", generation {generation} when it was up last")
            });
        return (
            "nothing".to_owned(),
            format!("{name} is not connected{relation}"),
        );
    };
    let is_active = Some(generation) == document.generation;
    if connection.presented == Some(false) {
        let relation = format!("{name}: the server did not ask for a certificate");
        return ("nothing".to_owned(), relation);
    }
    match document.active_leaf() {
        Some(leaf) if is_active => (
            certificate(Some(leaf), now),
            format!("{name}: the same as active"),
        ),
        _ => (
            format!("generation {generation}"),
            format!("{name}: OLDER than active, not moved yet"),
        ),
    }
}

fn draw_publish(page: &mut String, document: &Document, now: SystemTime) -> fmt::Result {
    let Some(publish) = &document.publish else {
        return Ok(());
    };
    let directory = publish.directory.as_deref().unwrap_or("unknown directory");
    let mut shown = match publish.generation {
        Some(generation) if Some(generation) == document.generation => "the same as active".into(),
        Some(generation) => format!("generation {generation}, OLDER than active"),
        None => "nothing of this process yet".to_owned(),
    };
    if let Some(since) = time(&publish.failing_since) {
        write!(shown, ", FAILING since {}", ago(since, now))?;
    }
    writeln!(page, "\nPublished for other processes")?;
    write_table(page, &[(brief(directory), shown)])
}

fn draw_connections(page: &mut String, document: &Document, now: SystemTime) -> fmt::Result {
    let connections = document.connections();
    if connections.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nConnections")?;
    let rows: Vec<_> = connections
        .iter()
        .take(CONNECTIONS_SHOWN)
        .map(|connection| {
            let unknown = || "unknown".to_owned();
            let name = connection.name.as_deref().map_or_else(unknown, brief);
            let state = connection.state.as_deref().map_or_else(unknown, brief);
            let state = if connection.is_connected() {
                state
            } else {
                state.to_uppercase()
            };
            let server = connection.server.as_deref().map(brief);
            let server = server.map_or_else(String::new, |server| format!(" to {server}"));
            let since = time(&connection.since);
            let since = since.map_or_else(String::new, |at| format!(", since {}", ago(at, now)));
            (name, format!("{state}{server}{since}"))
        })
        .collect();
    write_table(page, &rows)?;
    for connection in connections.iter().take(CONNECTIONS_SHOWN) {
        // What failed before it came up is history.
        let error = connection.last_error.as_ref();
        if let Some(error) = error.filter(|_| !connection.is_connected()) {
            let failed = connection.failed_attempts.unwrap_or_default();
            writeln!(
                page,
                "  {failed} failed attempts, the last: {}",
                brief(error)
            )?;
        }
    }
    match connections.len().saturating_sub(CONNECTIONS_SHOWN) {
        0 => Ok(()),
        more => writeln!(page, "  … and {more} more; --json lists them"),
    }
}

fn draw_relay(page: &mut String, document: &Document, now: SystemTime) -> fmt::Result {
    let Some(relay) = &document.relay else {
        return Ok(());
    };
    let listen = relay.listen.as_deref();
    let listen = listen.map_or_else(|| "ENDED".to_owned(), |address| format!("on {address}"));
    let sessions = relay.sessions.unwrap_or_default();
    let behind = match relay.behind.unwrap_or_default() {
        0 => "all on the active generation".to_owned(),
        behind => format!("{behind} NOT YET on the active generation"),
    };
    let count = |count: Option<u64>| count.unwrap_or_default();
    let nothing = Handovers::default();
    let handovers = relay.handovers.as_ref().unwrap_or(&nothing);
    let moved = format!(
        "{} unnoticed, {} failed, {} told to reconnect",
        count(handovers.ok),
        count(handovers.failed),
        count(handovers.fallback)
    );
    let mut rows = vec![
        ("clients", format!("{sessions} {listen}; {behind}")),
        ("handovers", moved),
    ];
    if let Some(failure) = &relay.last_failure {
        let at = time(&failure.at).map_or_else(|| "some time ago".into(), |at| ago(at, now));
        let detail = failure.detail.as_deref().unwrap_or("no detail");
        rows.push(("last failure", format!("{at}: {detail}")));
    }
    writeln!(page, "\nRelay")?;
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, text)| (name.to_owned(), brief(&text)))
        .collect();
    write_table(page, &rows)
}

fn draw_reloads(page: &mut String, document: &Document, now: SystemTime) -> fmt::Result {
    let when = |at: &Option<String>| time(at).map_or_else(|| "never".into(), |at| ago(at, now));
    let mut rows = Vec::new();
    if let Some(last) = &document.last_reload {
        let result = last.result.as_deref().unwrap_or("unknown");
        let reason = last.reason.as_deref().map(|reason| format!(" ({reason})"));
        let text = format!("{result}{}, {}", reason.unwrap_or_default(), when(&last.at));
        rows.push(("last reload", text));
    }
    if let Some(last) = &document.last_rejection {
        let reason = last.reason.as_deref().unwrap_or("unknown");
        let detail = last.detail.as_deref().unwrap_or("no detail");
        rows.push((
            "last rejection",
            format!("{reason}, {}: {detail}", when(&last.at)),
        ));
    }
    if let Some(last) = &document.last_preflight {
        let result = last.result.as_deref().unwrap_or("unknown");
        let detail = last.detail.as_deref().map(|detail| format!(": {detail}"));
        let text = format!("{result}, {}{}", when(&last.at), detail.unwrap_or_default());
        rows.push(("last preflight", text));
    }
    let mode = document
        .watcher
        .as_ref()
        .and_then(|watcher| watcher.mode.as_deref());
    rows.push(("watcher", mode.unwrap_or("not started").to_owned()));
    writeln!(page, "\nReloads")?;
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, text)| (name.to_owned(), brief(&text)))
        .collect();
    write_table(page, &rows)
}

fn draw_others(page: &mut String, document: &Document, now: SystemTime) -> fmt::Result {
    let mut rows = document
        .notify
        .as_ref()
        .map(|notify| notify.rows(now))
        .unwrap_or_default();
    rows.extend(document.confirm.as_ref().map(|confirm| confirm.row(now)));
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nOther processes")?;
    write_table(page, &rows)
}

fn draw_warnings(page: &mut String, document: &Document) -> fmt::Result {
    let warnings = document.warnings.as_deref().unwrap_or_default();
    if warnings.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nWarnings")?;
    for warning in warnings.iter().take(CONNECTIONS_SHOWN) {
        writeln!(page, "  {}: {}", brief(warning), of_warning_named(warning))?;
    }
    Ok(())
}

/// The two clocks may differ a little.
pub(super) fn ago(at: SystemTime, now: SystemTime) -> String {
    match now.duration_since(at) {
        Ok(passed) => format!("{} ago", rough(passed)),
        Err(ahead) => format!("{} ahead of this clock", rough(ahead.duration())),
    }
}

#[cfg(test)]
mod tests;
