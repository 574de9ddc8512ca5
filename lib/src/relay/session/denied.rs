//! The server errors that say by name which subscription is not there: it must not be made again on another connection.

use super::interest::Meant;

const BEFORE: &[u8] = b"permissions violation for subscription to ";

/// What nats-server says to a subscription that is one too many. It names none.
pub(super) const TOO_MANY: &[u8] = b"maximum subscriptions exceeded";

/// A refused or withdrawn subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) subject: Vec<u8>,
    queue: Option<Vec<u8>>,
    sid: Option<Vec<u8>>,
}

impl Denial {
    /// If that is what the text of a `-ERR` says (nats-server, `client.go`): `… to "a"`, perhaps ` using queue "q"`, and
    /// ` (sid "1")` where it is withdrawn. What follows, like `, too many tokens`, is a reason.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (before, rest) = text.split_at_checked(BEFORE.len())?;
        if !before.eq_ignore_ascii_case(BEFORE) {
            return None;
        }
        let (subject, rest) = unquoted(rest)?;
        let (queue, rest) = behind(b" using queue ", rest);
        let (sid, _) = behind(b" (sid ", rest);
        Some(Self {
            subject,
            queue,
            sid,
        })
    }

    pub(super) fn meant(&self) -> Meant<'_> {
        Meant {
            subject: &self.subject,
            queue: self.queue.as_deref(),
            sid: self.sid.as_deref(),
        }
    }
}

/// The name behind `words`, if they are there, and what follows.
fn behind<'a>(words: &[u8], text: &'a [u8]) -> (Option<Vec<u8>>, &'a [u8]) {
    match text.strip_prefix(words).and_then(unquoted) {
        Some((name, rest)) => (Some(name), rest),
        None => (None, text),
    }
}

/// A name as Go quotes it (`%q`), and what follows.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some((name, behind)),
            b'\\' => escaped(behind, &mut name)?,
            byte => {
                name.push(*byte);
                behind
            }
        };
    }
}

/// What a backslash stands before; what follows it.
fn escaped<'a>(text: &'a [u8], name: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (letter, rest) = text.split_first()?;
    let digits = match letter {
        b'x' => 2,
        b'u' => 4,
        b'U' => 8,
        letter => {
            name.push(match letter {
                b'a' => 0x07,
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 0x0b,
                b'\\' | b'"' => *letter,
                _ => return None,
            });
            return Some(rest);
        }
    };
    let (number, rest) = rest.split_at_checked(digits)?;
    let number = u32::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
    match letter {
        // A byte that is no text.
        b'x' => name.push(u8::try_from(number).ok()?),
        _ => {
            let letter = char::from_u32(number)?;
            name.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(names: &str) -> Option<Denial> {
        let text = format!("Permissions Violation for Subscription to {names}");
        Denial::parse(text.as_bytes())
    }

    #[test]
    fn every_form_of_a_refused_subscription() {
        let name = |name: &[u8]| Some(name.to_vec());
        for (names, subject, queue, sid) in [
            (r#""a.*""#, &b"a.*"[..], None, None),
            (r#""a.>" using queue "q""#, b"a.>", name(b"q"), None),
            (r#""a" (sid "7")"#, b"a", None, name(b"7")),
            (
                r#""a" using queue "q" (sid "7")"#,
                b"a",
                name(b"q"),
                name(b"7"),
            ),
            (r#""a.b.c", too many tokens"#, b"a.b.c", None, None),
            (r#""a", for a reason of its own"#, b"a", None, None),
            (r#""a\\b\"c""#, br#"a\b"c"#, None, None),
            (r#""\a\b\f\n\r\t\v""#, b"\x07\x08\x0c\n\r\t\x0b", None, None),
            (
                r#""\x01\xff\u0085\U0001f600é""#,
                b"\x01\xff\xc2\x85\xf0\x9f\x98\x80\xc3\xa9",
                None,
                None,
            ),
        ] {
            let denial = Denial {
                subject: subject.to_vec(),
                queue,
                sid,
            };
            assert_eq!(denied(names), Some(denial), "{names}");
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for names in ["a", "\"a", r#""\q""#, r#""\x4""#, r#""\ud800""#, ""] {
            assert_eq!(denied(names), None, "{names}");
        }
        for text in [
            r#"Permissions Violation for Publish to "a""#,
            "Authorization Violation",
            "Permissions Violation for",
            "",
        ] {
            assert_eq!(Denial::parse(text.as_bytes()), None, "{text}");
        }
    }
}
