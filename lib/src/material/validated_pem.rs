//! The bytes that were validated, kept so that exactly they can be published elsewhere. Owns
//! their secrecy: zeroised on drop, never printed.

use std::fmt;

use zeroize::Zeroizing;

use crate::source::{RawKey, RawMaterial};

/// The PEM bytes of a validated set, as they were read.
pub struct ValidatedPem {
    certificate: Zeroizing<Vec<u8>>,
    key: Option<Zeroizing<Vec<u8>>>,
    roots: Zeroizing<Vec<u8>>,
}

impl ValidatedPem {
    pub(super) fn copy(raw: &RawMaterial) -> Self {
        Self {
            certificate: raw.certificate.bytes.clone(),
            key: match &raw.key {
                RawKey::Pem(part) => Some(part.bytes.clone()),
                RawKey::InCertificate | RawKey::Signer(_) => None,
            },
            roots: raw.roots.bytes.clone(),
        }
    }

    /// The certificate part; holds the private key too if that came with it.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The key part, if there was one of its own.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|key| key.as_slice())
    }

    /// The CA roots.
    #[must_use]
    pub fn roots(&self) -> &[u8] {
        &self.roots
    }
}

impl fmt::Debug for ValidatedPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedPem").finish_non_exhaustive()
    }
}
