//! A certificate with its key, and how to recognise that the key has leaked.

use std::fmt::Write as _;
use std::sync::Arc;

use rcgen::{Certificate, KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha256};

use super::LeafSpec;

/// A line of text above every key's PEM block. Parsers ignore it, so it may only ever show up
/// where somebody printed the file.
pub const CANARY: &str = "CANARY-this-key-file-must-never-be-printed";

const SCALAR_LENGTH: usize = 32;

/// An issued certificate, its chain and its key.
#[derive(Clone)]
pub struct Identity {
    spec: LeafSpec,
    chain_pem: String,
    leaf_pem: String,
    key_pem: String,
    key: Arc<KeyPair>,
    serial: Vec<u8>,
    fingerprint: String,
    spki_fingerprint: String,
}

impl Identity {
    pub(super) fn new(
        spec: LeafSpec,
        leaf: &Certificate,
        chain_pem: String,
        key: Arc<KeyPair>,
        serial: Vec<u8>,
    ) -> Self {
        Self {
            spec,
            chain_pem,
            leaf_pem: leaf.pem(),
            key_pem: format!("{CANARY}\n{}", key.serialize_pem()),
            fingerprint: hex(&Sha256::digest(leaf.der())),
            spki_fingerprint: hex(&Sha256::digest(key.subject_public_key_info())),
            key,
            serial,
        }
    }

    /// The leaf and its intermediates, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The leaf alone.
    #[must_use]
    pub fn leaf_pem(&self) -> &str {
        &self.leaf_pem
    }

    /// The key, with [`CANARY`] above it.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Key first, then chain, in one text: how Vault and Kubernetes Pod Certificates write it.
    #[must_use]
    pub fn combined_pem(&self) -> String {
        format!("{}{}", self.key_pem, self.chain_pem)
    }

    /// SHA-256 of the leaf, as nats-server prints it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// SHA-256 of the leaf's SubjectPublicKeyInfo, as nats-server prints it.
    #[must_use]
    pub fn spki_fingerprint(&self) -> &str {
        &self.spki_fingerprint
    }

    /// The serial number, most significant byte first.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// What it was made to.
    pub fn spec(&self) -> &LeafSpec {
        &self.spec
    }

    pub(super) fn key(&self) -> Arc<KeyPair> {
        Arc::clone(&self.key)
    }

    /// The first trace of this identity's key in `text`, if there is one: the canary, or the
    /// secret number in base64, hex or a printed byte array. Line breaks in `text` do not hide it.
    #[must_use]
    pub fn leak_in(&self, text: &str) -> Option<String> {
        let squeezed: String = text
            .replace("\\n", "")
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect();
        self.traces()
            .into_iter()
            .find(|trace| squeezed.contains(trace.as_str()))
    }

    /// What would give the key away. Only the secret part: the public half is in the certificate.
    fn traces(&self) -> Vec<String> {
        let mut traces = vec![CANARY.to_owned()];
        let der = self.key.serialized_der();
        let base64: String = self
            .key
            .serialize_pem()
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        // An octet string of 32 bytes is where PKCS#8 keeps the number of a P-256 key.
        let start = der
            .windows(2)
            .position(|bytes| bytes == [0x04, 0x20])
            .map_or(der.len() / 2, |position| position + 2);
        let secret = &der[start..(start + SCALAR_LENGTH).min(der.len())];
        let (first, last) = (start.div_ceil(3) * 4, (start + secret.len()) / 3 * 4);
        traces.push(base64[first..last].to_owned());
        traces.push(hex(secret));
        traces.push(hex(secret).to_uppercase());
        let decimal: Vec<_> = secret.iter().map(u8::to_string).collect();
        traces.push(decimal.join(","));
        traces
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.fingerprint).finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::Authority;
    use super::*;

    #[test]
    fn a_printed_key_is_recognised_in_every_notation_and_a_certificate_is_not() {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("orders"));
        let other = authority.renew(&identity);
        let der = identity.key.serialized_der();
        for leaked in [
            identity.key_pem().to_owned(),
            identity.key.serialize_pem(),
            format!("{:?}", identity.key.serialize_pem()),
            format!("{der:?}"),
            format!("{der:#?}"),
            format!("{der:02x?}").replace([',', ' '], ""),
            hex(der).to_uppercase(),
        ] {
            assert!(identity.leak_in(&leaked).is_some(), "{leaked}");
        }
        let harmless = format!("{identity:?} {}", identity.chain_pem());
        assert_eq!(identity.leak_in(&harmless), None);
        assert_eq!(identity.leak_in(&other.key.serialize_pem()), None);
    }
}
