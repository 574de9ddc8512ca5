//! A look at a set that need not be valid, for the person who wonders why it was rejected. Owns
//! best effort; nothing here may become material.

use super::facts::{CertificateFacts, Facts};
use super::pem::{Blocks, Label};
use crate::source::{RawMaterial, RawPart};

/// What could be read of a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Inspection {
    /// The readable certificates of the certificate part, in the order of the file.
    pub chain: Vec<CertificateFacts>,
    /// The readable CA roots, in the order of the file.
    pub roots: Vec<CertificateFacts>,
}

impl Inspection {
    /// Whether it says the same as `facts`.
    pub(crate) fn is_of(&self, facts: &Facts) -> bool {
        self.chain == facts.chain && self.roots == facts.roots
    }
}

impl From<&Facts> for Inspection {
    fn from(facts: &Facts) -> Self {
        Self {
            chain: facts.chain.clone(),
            roots: facts.roots.clone(),
        }
    }
}

/// Reads what can be read; skips the rest. Never fails.
#[must_use]
pub fn inspect(raw: &RawMaterial) -> Inspection {
    Inspection {
        chain: readable(&raw.certificate),
        roots: readable(&raw.roots),
    }
}

fn readable(part: &RawPart) -> Vec<CertificateFacts> {
    Blocks::new(&part.bytes)
        .flatten()
        .filter(|block| block.label == Label::Certificate)
        .filter_map(|block| CertificateFacts::from_der(&block.decode()?))
        .collect()
}
