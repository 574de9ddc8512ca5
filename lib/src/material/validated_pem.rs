//! The bytes that were validated, kept so that exactly these can be handed to other programs. Owns
//! their secrecy: zeroised on drop, never printed.
//!
//! What is handed out is written anew: the blocks that were judged and nothing else. Other programs
//! stumble over byte order marks or text between blocks, and a certificate file that also holds the
//! key must not carry it to where everyone may read certificates.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::pem::{Blocks, KeyEncoding, Label};
use crate::source::{RawKey, RawMaterial};

/// The PEM of a validated set.
pub struct ValidatedPem {
    certificate: Zeroizing<Vec<u8>>,
    key: Option<Zeroizing<Vec<u8>>>,
    roots: Zeroizing<Vec<u8>>,
    crls: Option<Zeroizing<Vec<u8>>>,
}

impl ValidatedPem {
    pub(super) fn copy(raw: &RawMaterial) -> Self {
        Self {
            certificate: raw.certificate.bytes.clone(),
            key: match &raw.key {
                RawKey::Pem(part) => Some(part.bytes.clone()),
                // Beside the certificate, if anywhere within reach.
                RawKey::InCertificate | RawKey::Signer(_) => None,
            },
            roots: raw.roots.bytes.clone(),
            crls: raw.crls.as_ref().map(|part| part.bytes.clone()),
        }
    }

    /// The own certificates, leaf first; without the private key if that came in the same part.
    #[must_use]
    pub fn chain(&self) -> Vec<u8> {
        public(&self.certificate, Label::Certificate, "CERTIFICATE")
    }

    /// The private key; none if a signer outside this process has it.
    #[must_use]
    pub fn key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let part = self.key.as_ref().unwrap_or(&self.certificate);
        let mut blocks = Blocks::new(part).flatten();
        blocks.find_map(|block| {
            let Label::PrivateKey(encoding) = block.label else {
                return None;
            };
            let name = match encoding {
                KeyEncoding::Pkcs8 => "PRIVATE KEY",
                KeyEncoding::Pkcs1 => "RSA PRIVATE KEY",
                KeyEncoding::Sec1 => "EC PRIVATE KEY",
            };
            let der = block.decode_secret()?;
            let mut text = Zeroizing::new(Vec::with_capacity(encoded_length(name, &der)));
            encode(name, &der, &mut text);
            Some(text)
        })
    }

    /// The CA roots.
    #[must_use]
    pub fn roots(&self) -> Vec<u8> {
        public(&self.roots, Label::Certificate, "CERTIFICATE")
    }

    /// The revocation lists; none if the set has none.
    #[must_use]
    pub fn crls(&self) -> Option<Vec<u8>> {
        let part = self.crls.as_ref()?;
        Some(public(part, Label::Crl, "X509 CRL"))
    }
}

impl fmt::Debug for ValidatedPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedPem").finish_non_exhaustive()
    }
}

/// Every block of one kind. Nothing is skipped for being damaged: the set was parsed before.
fn public(part: &[u8], label: Label, name: &str) -> Vec<u8> {
    let blocks = Blocks::new(part).flatten();
    let blocks = blocks.filter(|block| block.label == label);
    let mut text = Vec::new();
    for der in blocks.filter_map(|block| block.decode()) {
        encode(name, &der, &mut text);
    }
    text
}

/// RFC 7468: lines of 64 characters, which are 48 bytes each.
const LINE: usize = 48;

fn encode(name: &str, der: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(format!("-----BEGIN {name}-----\n").as_bytes());
    let mut line = Zeroizing::new([0; 64]);
    for bytes in der.chunks(LINE) {
        // 48 bytes are 64 characters, so it always fits.
        let encoded = Base64::encode(bytes, line.as_mut_slice()).unwrap_or_default();
        text.extend_from_slice(encoded.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {name}-----\n").as_bytes());
}

/// Exact, so that a buffer for a secret never grows and leaves a copy behind.
fn encoded_length(name: &str, der: &[u8]) -> usize {
    let marks = "-----BEGIN -----\n-----END -----\n".len() + 2 * name.len();
    marks + der.len().div_ceil(3) * 4 + der.len().div_ceil(LINE)
}

#[cfg(test)]
mod tests {
    use super::super::testdata::{good, now, part};
    use super::super::{Material, Policy};
    use super::*;
    use crate::source::RawPart;

    fn validated(raw: &RawMaterial) -> ValidatedPem {
        Material::parse(raw, &Policy::default(), now()).unwrap();
        ValidatedPem::copy(raw)
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    /// The testdata was written by another program.
    #[test]
    fn what_is_clean_already_comes_out_as_it_went_in() {
        let pem = validated(&good());
        assert_eq!(text(&pem.chain()), text(&part("chain.pem").bytes));
        assert_eq!(text(&pem.key().unwrap()), text(&part("leaf.key").bytes));
        assert_eq!(text(&pem.roots()), text(&part("ca.pem").bytes));
        assert_eq!(pem.crls(), None);
        let raw = RawMaterial {
            crls: Some(part("crl.pem")),
            ..good()
        };
        let crls = validated(&raw).crls().unwrap();
        assert_eq!(text(&crls), text(&part("crl.pem").bytes));
    }

    #[test]
    fn marks_text_and_line_ends_of_others_are_left_behind() {
        let clean = validated(&good()).chain();
        for name in ["bom.pem", "crlf.pem", "text-between.pem"] {
            let raw = RawMaterial {
                certificate: part(name),
                ..good()
            };
            assert_eq!(text(&validated(&raw).chain()), text(&clean), "{name}");
        }
    }

    #[test]
    fn a_key_beside_the_certificate_goes_with_the_keys_alone() {
        for name in ["key-first.pem", "key-last.pem"] {
            let raw = RawMaterial {
                certificate: part(name),
                key: RawKey::InCertificate,
                ..good()
            };
            let pem = validated(&raw);
            assert!(!text(&pem.chain()).contains("PRIVATE"), "{name}");
            assert_eq!(pem.chain(), validated(&good()).chain(), "{name}");
            assert_eq!(pem.key(), validated(&good()).key(), "{name}");
        }
    }

    #[test]
    fn every_kind_of_key_keeps_its_kind_and_its_buffer() {
        for (certificate, key) in [("rsa.pem", "rsa.key"), ("rsa.pem", "pkcs1.key")] {
            let raw = RawMaterial {
                certificate: part(certificate),
                key: RawKey::Pem(part(key)),
                ..good()
            };
            let written = validated(&raw).key().unwrap();
            assert_eq!(text(&written), text(&part(key).bytes), "{key}");
            assert_eq!(written.len(), written.capacity(), "{key}");
        }
        let raw = RawMaterial {
            key: RawKey::Pem(RawPart::new("sec1.key", part("sec1.key").bytes.as_slice())),
            ..good()
        };
        let written = ValidatedPem::copy(&raw).key().unwrap();
        assert!(text(&written).starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
        assert_eq!(written.len(), written.capacity());
    }
}
