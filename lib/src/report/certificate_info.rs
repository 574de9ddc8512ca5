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

const HEAD: &str = "\
# HELP nats_mtls_certificate_info Always 1; what the certificates on disk, active and on the wire say.
# TYPE nats_mtls_certificate_info gauge
";

/// Comments and one line for each certificate.
pub(crate) fn render(certificates: &Certificates<'_>) -> String {
    let mut lines = BTreeSet::new();
    for source in Source::ALL {
        for role in Role::ALL {
            // Connections mostly present the same one: a series may be there only once.
            let shown: BTreeSet<_> = certificates
                .ending_first(role, source)
                .map(|facts| line(role, source, facts))
                .take(SHOWN)
                .collect();
            lines.extend(shown);
        }
    }
    lines
        .into_iter()
        .fold(HEAD.to_owned(), |text, line| text + &line)
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
}
