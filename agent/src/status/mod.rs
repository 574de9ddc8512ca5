//! `status`: asks a running agent, and tells a tired reader what is true and what to do next.
//! Judges nothing: whether the agent is ready is the agent's own answer.

mod advice;
mod ask;
mod document;
mod others;
mod page;
mod raw;

use std::error::Error;
use std::io::{self, Write as _};
use std::time::SystemTime;

use crate::args::StatusArgs;
use crate::config::StatusConfig;
use crate::outcome::{Outcome, block_on, say};
use crate::words::brief;
use document::Document;

/// The command, from arguments to exit code.
pub(crate) fn command(args: &StatusArgs) -> Outcome {
    match StatusConfig::new(args) {
        Ok(config) => block_on(status(config)),
        Err(error) => Outcome::wrong_usage(&error),
    }
}

async fn status(config: StatusConfig) -> Outcome {
    let url = &config.url;
    let body = match ask::ask(url).await {
        Ok(body) => body,
        Err(error) => return not_reachable(&config, &error.to_string()),
    };
    let no_status =
        |error: &dyn Error| not_reachable(&config, &format!("the answer is no status ({error})"));
    let text = match str::from_utf8(&body) {
        Ok(text) => text,
        Err(error) => return no_status(&error),
    };
    let document: Document = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return no_status(&error),
    };
    let mut stdout = io::stdout();
    // A reader that closed the pipe early still gets its exit code.
    if config.json {
        writeln!(stdout, "{}", raw::one_line(text)).ok();
    } else {
        let page = page::draw(&document, &url.to_string(), SystemTime::now());
        stdout.write_all(page.as_bytes()).ok();
    }
    if document.ready {
        Outcome::Done
    } else {
        Outcome::Failed
    }
}

fn not_reachable(config: &StatusConfig, why: &str) -> Outcome {
    say(&format_args!(
        "error: no agent answers at {}: {}\n\n  Is it running, with --http on that address? From outside a pod: kubectl port-forward.",
        config.url,
        brief(why)
    ));
    Outcome::NotReachable
}
