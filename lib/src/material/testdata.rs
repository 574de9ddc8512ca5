//! Sets for tests: the files of `testdata/material`, made by `testdata/make.py`, at a fixed time.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::source::{RawKey, RawMaterial, RawPart};

/// 2026-06-01T00:00:00Z, `NOW` of `testdata/make.py`.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_272_000)
}

pub(super) fn part(file: &str) -> RawPart {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/material");
    let bytes = std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    RawPart::new(file, bytes)
}

/// The set that is right, for a test to replace parts of.
pub(super) fn good() -> RawMaterial {
    with("chain.pem", "leaf.key")
}

/// Another chain and key with the good roots.
pub(super) fn with(certificate: &str, key: &str) -> RawMaterial {
    RawMaterial {
        certificate: part(certificate),
        key: match key {
            "" => RawKey::InCertificate,
            key => RawKey::Pem(part(key)),
        },
        roots: part("ca.pem"),
        crls: None,
        issuer: None,
    }
}
