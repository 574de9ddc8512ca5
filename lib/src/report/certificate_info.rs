//! `nats_mtls_certificate_info` in the Prometheus text format. Its labels are open, and the
//! `metrics` facade cannot delete a series: so it is rendered for each scrape, and certificates
//! that are gone vanish from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::material::CertificateFacts;
use crate::report::certificates::{Certificates, Role, Source};

/// Of each role in each place those that end first; a CA bundle may hold hundreds.
const SHOWN: usize = 8;
/// Names come from certificates, which may come from anybody.
const LONGEST_NAME: usize = 200;
/// All of it, in bytes: a scrape stays below 32 KiB, whatever the names are.
const LARGEST: usize = 12 * 1024;

const HEAD: &str = "\
# HELP nats_mtls_certificate_info Always 1; what the certificates on disk, active and on the wire say.
# TYPE nats_mtls_certificate_info gauge
";

/// Comments and one line for each certificate; where there is no room for all, for those that end
/// first.
pub(crate) fn render(certificates: &Certificates<'_>) -> String {
    let places = Source::ALL
        .into_iter()
        .flat_map(|source| Role::ALL.map(|role| (role, source)));
    let mut waiting: Vec<_> = places
        .map(|(role, source)| shown(certificates, role, source).into_iter())
        .collect();
    let mut lines = BTreeSet::new();
    let mut room = LARGEST.saturating_sub(HEAD.len());
    // The first of each place, then the second of each, ...
    for _ in 0..SHOWN {
        for line in waiting.iter_mut().filter_map(Iterator::next) {
            if line.len() <= room {
                room -= line.len();
                lines.insert(line);
            }
        }
    }
    lines
        .into_iter()
        .fold(HEAD.to_owned(), |text, line| text + &line)
}

/// In the order of their end. Connections mostly present the same certificate, and a series may be
/// there only once.
fn shown(certificates: &Certificates<'_>, role: Role, source: Source) -> Vec<String> {
    let mut lines = Vec::new();
    for facts in certificates.ending_first(role, source) {
        let line = line(role, source, facts);
        if !lines.contains(&line) {
            lines.push(line);
        }
        if lines.len() == SHOWN {
            break;
        }
    }
    lines
}

fn line(role: Role, source: Source, facts: &CertificateFacts) -> String {
    format!(
        "nats_mtls_certificate_info{{role=\"{}\",source=\"{}\",subject=\"{}\",issuer=\"{}\",\
         serial=\"{}\",fingerprint_sha256=\"{}\"}} 1\n",
        role.as_str(),
        source.as_str(),
        escape(&facts.subject),
        escape(&facts.issuer),
        escape(&facts.serial),
        facts.fingerprint_sha256,
    )
}

/// A label value: backslash, quote and line feed are the only ones that need it.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (position, character) in name.chars().enumerate() {
        match character {
            _ if position == LONGEST_NAME => {
                escaped.push('…');
                break;
            }
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            // Legal, but no reader of a text format expects them.
            control if control.is_control() => {
                // Writing to a String cannot fail.
                write!(escaped, "\\\\x{:02x}", u32::from(control)).ok();
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::nats::{ConnectionReport, ConnectionTotals};

    const LEAF: &str = include_str!("../../../testdata/material/chain.pem");

    fn leaf() -> CertificateFacts {
        let raw = crate::source::RawMaterial {
            certificate: crate::source::RawPart::new("tls.crt", LEAF),
            key: crate::source::RawKey::Pem(crate::source::RawPart::new("tls.key", "")),
            roots: crate::source::RawPart::new("ca.crt", ""),
            crls: None,
            issuer: None,
        };
        crate::material::inspect(&raw).chain.remove(0)
    }

    fn on_the_wire(leaves: impl IntoIterator<Item = CertificateFacts>) -> String {
        let report = |facts| ConnectionReport {
            client_leaf: Some(Arc::new(facts)),
            ..ConnectionReport::connecting("orders", ConnectionTotals::default())
        };
        let reports: Vec<_> = leaves.into_iter().map(report).collect();
        render(&Certificates::new(None, None, &reports))
    }

    #[test]
    fn names_cannot_break_out_of_their_label() {
        let mut facts = leaf();
        facts.subject = "CN=a\"b\\c\nd\re".to_owned();
        let text = on_the_wire([facts]);
        assert!(text.contains(r#"subject="CN=a\"b\\c\nd\\x0de","#), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_certificate_that_several_present_is_one_series() {
        assert_eq!(on_the_wire([leaf(), leaf()]).lines().count(), 3);
    }

    #[test]
    fn neither_names_nor_their_number_grow_without_limit() {
        let many = (0..100_u32).map(|number| {
            let mut facts = leaf();
            facts.serial = number.to_string();
            facts.subject = "\"".repeat(10_000);
            facts
        });
        let text = on_the_wire(many);
        assert_eq!(text.lines().count(), 2 + SHOWN);
        assert!(text.len() < 8 * 1024, "{}", text.len());
    }

    #[test]
    fn where_there_is_no_room_those_that_end_first_are_told() {
        let ending = |second: u64| {
            let mut facts = leaf();
            facts.serial = second.to_string();
            // As long as text can be, and escaped.
            facts.subject = "\u{10ffff}".repeat(10_000);
            facts.issuer = facts.subject.clone();
            facts.not_after = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            facts
        };
        let many = (0..100).rev().map(ending);
        let text = on_the_wire(many);
        assert!(text.len() <= LARGEST, "{}", text.len());
        let serials = |text: &str| -> Vec<String> {
            let parts = text.split("serial=\"").skip(1);
            parts
                .map(|part| part.split('"').next().unwrap().to_owned())
                .collect()
        };
        let told = serials(&text);
        assert!((5..=SHOWN).contains(&told.len()), "{told:?}");
        let first: Vec<_> = (0..told.len()).map(|second| second.to_string()).collect();
        assert_eq!(told, first);
    }
}
