//! What makes two materials the same. Owns the choice of what counts: content, not bytes.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::distinguished_name::hex;
use super::facts::{Facts, Fingerprint};

/// A digest of parsed content: the chain in its order, the leaf's public key (which stands for
/// the private one), the set of roots and the set of revocation lists. White space, comments,
/// line endings and the order of roots do not change it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaterialDigest([u8; 32]);

impl MaterialDigest {
    pub(super) fn of(facts: &Facts, crls: &BTreeSet<Fingerprint>) -> Self {
        let chain = facts
            .chain
            .iter()
            .map(|certificate| certificate.fingerprint_sha256);
        let roots = facts.roots.iter().map(|root| root.fingerprint_sha256);
        let mut hasher = Sha256::new();
        let mut add = |fingerprints: &mut dyn Iterator<Item = Fingerprint>| {
            let fingerprints = fingerprints.collect::<Vec<_>>();
            // The count keeps a root from being taken for an intermediate.
            hasher.update((fingerprints.len() as u64).to_be_bytes());
            for fingerprint in fingerprints {
                hasher.update(fingerprint.as_bytes());
            }
        };
        add(&mut chain.into_iter());
        add(&mut std::iter::once(facts.leaf().spki_sha256));
        add(&mut roots.collect::<BTreeSet<_>>().into_iter());
        add(&mut crls.iter().copied());
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for MaterialDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for MaterialDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
