//! What is said of a command line that does not parse: help that was asked for, or the error and an
//! example of what would have been right.
//!
//! clap repeats the argument it does not understand, and that may be a URL with a password.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::outcome::{Outcome, say};

pub(crate) fn explain(error: &Error) -> Outcome {
    match redacted(&error.to_string()) {
        Some(text) => say(&text.trim_end()),
        // Nobody is left to tell if the stream is closed.
        None => error.print().unwrap_or_default(),
    }
    if error.use_stderr() {
        // A bare call has shown the whole help.
        if error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let command = std::env::args().nth(1);
            let example = example(error, command.as_deref().unwrap_or_default());
            say(&format_args!("\n  for example: {example}"));
        }
        Outcome::WrongUsage
    } else {
        Outcome::Done
    }
}

/// Of the flag whose value is wrong, else of the command.
fn example(error: &Error, command: &str) -> String {
    flag_example(error).unwrap_or_else(|| {
        let (command, flags) = match command {
            "status" => (command, "--url http://127.0.0.1:9464"),
            "plan" => (command, "--pods 24 --max-unavailable 3"),
            "check" | "wait" => (command, CONNECTED),
            _ => ("run", CONNECTED),
        };
        format!("nats-mtls-agent {command} {flags}")
    })
}

const CONNECTED: &str =
    "--cert tls.crt --key tls.key --ca ca.crt --server tls://nats.example.com:4222";

fn flag_example(error: &Error) -> Option<String> {
    let ContextValue::String(argument) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    let (flag, placeholder) = argument.split_once(" <")?;
    let value = match (error.get(ContextKind::ValidValue), placeholder) {
        (Some(ContextValue::Strings(values)), _) if !values.is_empty() => values.first()?.as_str(),
        (_, "DURATION>") => "10s",
        (_, "COUNT>") => "3",
        (_, "FILE>") => "file.pem",
        (_, "NAME>") => "orders",
        (_, "ADDRESS>") => "127.0.0.1:9464",
        (_, "URL>") if flag == "--url" => "http://127.0.0.1:9464",
        (_, "URL>") => "tls://nats.example.com:4222",
        _ => return None,
    };
    Some(format!("{flag} {value}"))
}

/// The text without the user information of URLs; none if there was none.
fn redacted(text: &str) -> Option<String> {
    let mut kept = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some((before, after)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        // A password may hold anything but the end of the argument.
        let end = after.find(['\'', '\n']).unwrap_or(after.len());
        let (argument, following) = after.split_at(end);
        match argument.rsplit_once('@') {
            Some((_, host)) => {
                found = true;
                kept.push('…');
                kept.push('@');
                kept.push_str(host);
            }
            None => kept.push_str(argument),
        }
        rest = following;
    }
    kept.push_str(rest);
    found.then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn user_information_does_not_pass() {
        let text = "unexpected argument 'tls://u:s3c:/ret@a:4222' found, see https://a\n";
        assert_eq!(
            redacted(text).as_deref(),
            Some("unexpected argument 'tls://…@a:4222' found, see https://a\n")
        );
        let list = redacted("'tls://u:p@a,tls://v:q@b'").unwrap();
        assert!(!list.contains(":p") && !list.contains(":q"), "{list}");
        assert_eq!(redacted("unexpected argument '--x' found"), None);
    }
}
