//! What is said of a command line that does not parse: help that was asked for, or the error.
//!
//! clap repeats the argument it does not understand, and that may be a URL with a password.

use clap::error::Error;

use crate::outcome::{Outcome, say};

pub(crate) fn explain(error: &Error) -> Outcome {
    match redacted(&error.to_string()) {
        Some(text) => say(&text.trim_end()),
        // Nobody is left to tell if the stream is closed.
        None => error.print().unwrap_or_default(),
    }
    if error.use_stderr() {
        Outcome::WrongUsage
    } else {
        Outcome::Done
    }
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
