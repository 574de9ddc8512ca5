//! The part of the page about other processes: who was told, and whether it took. Pure: `now` is an
//! argument.

use std::time::SystemTime;

use serde::Deserialize;

use super::document::time;
use super::page::ago;
use crate::words::brief;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Notify {
    signal: Option<Told>,
    exec: Option<Told>,
    http: Option<Told>,
}

#[derive(Debug, Deserialize)]
struct Told {
    target: Option<String>,
    generation: Option<u64>,
    result: Option<String>,
    reason: Option<String>,
    at: Option<String>,
    attempts: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Confirm {
    target: Option<String>,
    name: Option<String>,
    generation: Option<u64>,
    result: Option<String>,
    reason: Option<String>,
    at: Option<String>,
}

impl Notify {
    fn hooks(&self) -> impl Iterator<Item = (&'static str, &Told)> {
        let hooks = [
            ("signal", &self.signal),
            ("exec", &self.exec),
            ("http", &self.http),
        ];
        hooks
            .into_iter()
            .filter_map(|(kind, hook)| Some((kind, hook.as_ref()?)))
    }

    pub(super) fn rows(&self, now: SystemTime) -> Vec<(String, String)> {
        let row = |(kind, hook): (&str, &Told)| (kind.to_owned(), hook.words(now));
        self.hooks().map(row).collect()
    }

    /// What to do about a hook that fails; it says so itself.
    pub(super) fn steps(&self) -> impl Iterator<Item = String> {
        self.hooks()
            .filter(|(_, hook)| hook.result.as_deref() == Some("failed"))
            .filter_map(|(_, hook)| hook.reason.as_deref().map(brief))
    }
}

impl Told {
    fn words(&self, now: SystemTime) -> String {
        let target = self
            .target
            .as_deref()
            .map_or_else(|| "unknown".into(), brief);
        let Some(result) = self.result.as_deref() else {
            return format!("{target}: nothing to tell yet");
        };
        let about = about(self.generation, &self.at, now);
        if result == "ok" {
            return format!("{target}: ok, {about}");
        }
        let attempts = self.attempts.unwrap_or_default();
        format!(
            "{target}: {}, attempt {attempts}, {about}",
            brief(&result.to_uppercase())
        )
    }
}

impl Confirm {
    pub(super) fn row(&self, now: SystemTime) -> (String, String) {
        let name = self.name.as_deref().map(brief).unwrap_or_default();
        let target = match self.target.as_deref() {
            Some("connection") => "the agent's own connection".to_owned(),
            Some("clients") => format!("every connection named {name}"),
            Some("server") => "the server".to_owned(),
            other => brief(other.unwrap_or("unknown")),
        };
        let result = match self.result.as_deref() {
            None => "not asked yet".to_owned(),
            Some("confirmed") => "shows the new certificate".to_owned(),
            Some("not_confirmed") => "NOT CONFIRMED".to_owned(),
            Some("unsupported") => "nobody can say".to_owned(),
            Some(other) => brief(other),
        };
        let about = about(self.generation, &self.at, now);
        let words = if self.result.is_some() {
            format!("{target}: {result}, {about}")
        } else {
            format!("{target}: {result}")
        };
        ("confirm".to_owned(), words)
    }

    pub(super) fn step(&self) -> Option<String> {
        let why = brief(self.reason.as_deref()?);
        match self.result.as_deref()? {
            "not_confirmed" => Some(format!(
                "{why}: read the log of whoever uses the certificate; it must read the very files, and \
                 read them again when it is told."
            )),
            "unsupported" => Some(why),
            _ => None,
        }
    }
}

fn about(generation: Option<u64>, at: &Option<String>, now: SystemTime) -> String {
    let when = time(at).map_or_else(|| "at an unknown time".to_owned(), |at| ago(at, now));
    format!("generation {}, {when}", generation.unwrap_or_default())
}
