//! Distinguished names as nats-server writes and compares them, which is how Go does it and not
//! how OpenSSL or RFC 4514 tools do. Owns the order, the escaping and the three spellings; must
//! not decide which of them a user is mapped by.
//!
//! Measured with nats-server 2.15.1 (Go 1.27). Servers built with an older Go show the attributes
//! that have no short name as `OID=#` and hexadecimal DER; nobody is mapped by that spelling.
//! Sources: Go's `crypto/x509` (`parseName`) and `crypto/x509/pkix` (`Name.String`,
//! `Name.ToRDNSequence`, `RDNSequence.String`); nats-server's `checkClientTLSCertSubject`.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag, ToDer as _};
use x509_parser::x509::X509Name;

/// The attributes Go has a field for, in the order it writes them (the reverse of its sequence).
/// The boolean: the field holds one value, the last one wins.
const NAMED: [(&str, &str, bool); 9] = [
    ("2.5.4.5", "SERIALNUMBER", true),
    ("2.5.4.3", "CN", true),
    ("2.5.4.11", "OU", false),
    ("2.5.4.10", "O", false),
    ("2.5.4.17", "POSTALCODE", false),
    ("2.5.4.9", "STREET", false),
    ("2.5.4.7", "L", false),
    ("2.5.4.8", "ST", false),
    ("2.5.4.6", "C", false),
];
const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";

/// A name, taken apart: relative distinguished names in the order of the certificate.
pub(super) struct DistinguishedName {
    relative: Vec<Vec<Attribute>>,
}

struct Attribute {
    oid: String,
    /// None if it is not one of the string types Go reads.
    text: Option<String>,
    der: Vec<u8>,
}

impl DistinguishedName {
    pub(super) fn new(name: &X509Name<'_>) -> Self {
        let attribute = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| Attribute {
            oid: attribute.attr_type().to_id_string(),
            text: text(attribute.attr_value()),
            der: attribute.attr_value().to_der_vec().unwrap_or_default(),
        };
        Self {
            relative: name
                .iter_rdn()
                .map(|relative| relative.iter().map(attribute).collect())
                .collect(),
        }
    }

    fn attributes(&self) -> impl DoubleEndedIterator<Item = &Attribute> {
        self.relative.iter().flatten()
    }

    /// `pkix.Name.String()`: how the server shows the subject of a peer's certificate.
    ///
    /// The well-known attributes in a fixed order, whatever the certificate's order, then the
    /// others backwards under their object identifiers.
    pub(super) fn to_go_string(&self) -> String {
        let others = self
            .attributes()
            .rev()
            .filter(|attribute| named(&attribute.oid).is_none())
            .map(|attribute| match &attribute.text {
                Some(text) => format!("{}={}", attribute.oid, escape(text, "")),
                None => format!("{}=#{}", attribute.oid, hex(&attribute.der)),
            });
        self.named_attributes()
            .chain(others)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The spellings by which `verify_and_map` looks for a user, in its order, none repeated.
    ///
    /// First the name compared part by part, here in RFC 4514 order, if every attribute is one
    /// the server knows. It ignores the order of the parts, so it is left out if the spellings
    /// below are the same but for that. Then the well-known attributes with the domain components
    /// behind them, then the well-known attributes alone.
    pub(super) fn nats_users(&self) -> Vec<String> {
        let plain = self.named_attributes().collect::<Vec<_>>();
        let components = self
            .attributes()
            .filter(|attribute| attribute.oid == DOMAIN_COMPONENT)
            .filter_map(|attribute| Some(format!("DC={}", attribute.text.as_deref()?)))
            .collect::<Vec<_>>();
        let with_components = [plain.as_slice(), components.as_slice()].concat();

        let mut users = Vec::new();
        if let Some(parts) = self.parts() {
            let sorted = |parts: &[String]| {
                let mut parts = parts.to_vec();
                parts.sort_unstable();
                parts
            };
            if sorted(&parts) != sorted(&with_components) {
                users.push(parts.join(","));
            }
        }
        users.push(with_components.join(","));
        users.push(plain.join(","));
        users.dedup();
        users.retain(|user| !user.is_empty());
        users
    }

    /// `ToRDNSequence().String()`, one string per relative name.
    fn named_attributes(&self) -> impl Iterator<Item = String> {
        NAMED.iter().filter_map(|(oid, name, single)| {
            let mut values = self
                .attributes()
                .filter(|attribute| attribute.oid == *oid)
                .filter_map(|attribute| attribute.text.as_deref())
                .collect::<Vec<_>>();
            if *single {
                values = values
                    .last()
                    .filter(|value| !value.is_empty())
                    .copied()
                    .into_iter()
                    .collect();
            }
            let values = values
                .iter()
                .map(|value| format!("{name}={}", escape(value, "")));
            Some(values.collect::<Vec<_>>().join("+")).filter(|values| !values.is_empty())
        })
    }

    /// RFC 4514 order and grouping; none if an attribute has no name the server knows or an empty
    /// value, which it cannot parse.
    fn parts(&self) -> Option<Vec<String>> {
        let part = |attribute: &Attribute| {
            let name = named(&attribute.oid)
                .or_else(|| (attribute.oid == DOMAIN_COMPONENT).then_some("DC"))?;
            let value = attribute
                .text
                .as_deref()
                .filter(|value| !value.is_empty())?;
            // The server's parser takes a bare `=` for the end of a type.
            Some(format!("{name}={}", escape(value, "=")))
        };
        self.relative
            .iter()
            .rev()
            .map(|relative| {
                let parts = relative.iter().map(part).collect::<Option<Vec<_>>>()?;
                Some(parts.join("+"))
            })
            .collect()
    }
}

fn named(oid: &str) -> Option<&'static str> {
    NAMED
        .iter()
        .find(|(named, ..)| *named == oid)
        .map(|(_, name, _)| *name)
}

/// The string types Go reads (`parseASN1String`).
fn text(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            Some(std::str::from_utf8(bytes).ok()?.to_owned())
        }
        // Latin-1, as Go reads it.
        Tag::T61String => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = bytes.strip_suffix(&[0, 0]).unwrap_or(bytes);
            let units = units.chunks(2).map(|unit| match unit {
                [high, low] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            });
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    }
}

/// Go's rule: RFC 2253's special characters, a leading `#`, a leading or trailing space.
fn escape(value: &str, more: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut escaped = String::with_capacity(value.len());
    for (position, character) in value.char_indices() {
        let special = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => position == 0 || position == last,
            '#' => position == 0,
            other => more.contains(other),
        };
        if special {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Lower-case, without separators.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::super::inspect;
    use super::super::testdata::with;

    /// Subject, then the users; both as measured with nats-server 2.15.1: shown by `/connz?auth=1`,
    /// accepted with `verify_and_map`.
    #[test]
    fn spelled_as_nats_server_does() {
        let table: [(&str, &str, &[&str]); 14] = [
            (
                "order",
                "SERIALNUMBER=007,CN=orders,OU=Sales,O=Acme,POSTALCODE=2611,STREET=Markt 1,L=Delft,ST=ZH,C=NL",
                &[
                    "SERIALNUMBER=007,CN=orders,OU=Sales,O=Acme,POSTALCODE=2611,STREET=Markt 1,L=Delft,ST=ZH,C=NL",
                ],
            ),
            (
                "special",
                r#"CN=\ both ends\ ,OU=\#first+OU=not#first,O=a\,b\+c\"d\\e\<f\>g\;h=i"#,
                &[
                    r#"CN=\ both ends\ ,OU=not#first,OU=\#first,O=a\,b\+c\"d\\e\<f\>g\;h\=i"#,
                    r#"CN=\ both ends\ ,OU=\#first+OU=not#first,O=a\,b\+c\"d\\e\<f\>g\;h=i"#,
                ],
            ),
            ("one-space", r"CN=\#,O=\ ", &[r"CN=\#,O=\ "]),
            (
                "several-units",
                "CN=x,OU=one+OU=two",
                &["CN=x,OU=two,OU=one", "CN=x,OU=one+OU=two"],
            ),
            (
                "multi-valued",
                "CN=x,OU=one,O=Acme",
                &["CN=x+OU=one,O=Acme", "CN=x,OU=one,O=Acme"],
            ),
            (
                "two-common-names",
                "CN=last",
                &["CN=last,CN=first", "CN=last"],
            ),
            (
                "domain",
                "CN=orders,OU=Sales,0.9.2342.19200300.100.1.25=acme,0.9.2342.19200300.100.1.25=com",
                &["CN=orders,OU=Sales,DC=com,DC=acme", "CN=orders,OU=Sales"],
            ),
            (
                "domain-only",
                "0.9.2342.19200300.100.1.25=acme,0.9.2342.19200300.100.1.25=com",
                &["DC=com,DC=acme"],
            ),
            (
                "email",
                "CN=orders,1.2.840.113549.1.9.1=orders@acme.example",
                &["CN=orders"],
            ),
            (
                "unknown",
                r"CN=x,1.2.3.4.5=é*,0.9.2342.19200300.100.1.1=\#u\,1\ ",
                &["CN=x"],
            ),
            (
                "types",
                "SERIALNUMBER=12 34,CN=日本 é,OU=Zoë,O=Zoë",
                &["SERIALNUMBER=12 34,CN=日本 é,OU=Zoë,O=Zoë"],
            ),
            ("empty", "", &["c@d", "a.example", "urn:b"]),
            ("empty-value", "O=", &["O="]),
            (
                "control",
                "CN=line\nbreak\tand\x7f",
                &["CN=line\nbreak\tand\x7f"],
            ),
        ];
        for (name, subject, users) in table {
            let inspection = inspect(&with(&format!("name-{name}.pem"), ""));
            let leaf = inspection.chain.first().unwrap();
            assert_eq!(leaf.subject, subject, "{name}");
            assert_eq!(leaf.nats_users, users, "{name}");
        }
    }
}
