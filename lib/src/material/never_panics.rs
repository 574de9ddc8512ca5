//! Whatever the bytes, the answer is material or a rejection: no panic, no endless work.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::testdata::{good, now, part};
use super::{Material, Policy, inspect};
use crate::source::{RawKey, RawMaterial, RawPart};

fn judge(raw: &RawMaterial, at: SystemTime) {
    let _ = Material::parse(raw, &Policy::default(), at);
    let _ = inspect(raw);
}

/// Bytes that are put in the place of every part, one after the other.
fn judge_everywhere(bytes: &[u8]) {
    let changed = || RawPart::new("changed", bytes);
    let mut raw = good();
    raw.certificate = changed();
    judge(&raw, now());
    raw.key = RawKey::InCertificate;
    judge(&raw, now());
    let mut raw = good();
    raw.key = RawKey::Pem(changed());
    judge(&raw, now());
    let mut raw = good();
    raw.roots = changed();
    judge(&raw, now());
    let mut raw = good();
    raw.crls = Some(changed());
    raw.issuer = Some(changed());
    judge(&raw, now());
    raw.issuer = None;
    judge(&raw, now());
}

const FILES: [&str; 8] = [
    "chain.pem",
    "key-first.pem",
    "leaf.key",
    "same-key-twice.key",
    "crl.pem",
    "name-types.pem",
    "text-between.pem",
    "chain.der",
];

/// PEM whose base64 is right and whose content is not: what random bytes in a text never reach.
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    use base64ct::{Base64, Encoding as _};
    let text = Base64::encode_string(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        judge_everywhere(&bytes);
    }

    #[test]
    fn random_lines(lines in proptest::collection::vec(
        "(-----BEGIN (CERTIFICATE|PRIVATE KEY|EC PRIVATE KEY|X509 CRL)-----|-----END (CERTIFICATE|X509 CRL)-----|MII[A-Za-z0-9/+]{0,64}={0,2}|Proc-Type: 4,ENCRYPTED|[ \t#-]{0,9}(-----BEGIN )?|\r)",
        0..40,
    )) {
        judge_everywhere(lines.join("\n").as_bytes());
    }

    #[test]
    fn changed_files(
        file in proptest::sample::select(&FILES[..]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let mut bytes = part(file).bytes.to_vec();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if truncate {
            bytes.truncate(length.index(bytes.len()));
        }
        judge_everywhere(&bytes);
    }

    #[test]
    fn changed_der(
        label in proptest::sample::select(&["CERTIFICATE", "X509 CRL", "PRIVATE KEY", "EC PRIVATE KEY"][..]),
        file in proptest::sample::select(&["chain.der", "crl.der", "leaf-key.der"][..]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut der = part(file).bytes.to_vec();
        for (index, byte) in changes {
            let at = index.index(der.len());
            der[at] = byte;
        }
        judge_everywhere(&pem(label, &der));
    }

    #[test]
    fn any_time(seconds in any::<i64>()) {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        if let Some(at) = at {
            judge(&good(), at);
        }
    }
}
