//! What the bytes mean: the only way from raw bytes to [`Material`] is [`Material::parse`].
//!
//! No file, no clock, no async here. After parsing there is no half-valid state and nothing left
//! to check.

mod bundle;
mod certificate;
mod chain;
mod digest;
mod distinguished_name;
mod facts;
mod inspection;
mod key;
mod pem;
mod policy;
mod reason;
mod requirements;
mod signature;
mod succession;
mod trust;
mod validated_pem;
mod validity;

#[cfg(test)]
mod never_panics;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod testdata;
#[cfg(test)]
mod verdicts;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::sign::CertifiedKey;

pub use digest::MaterialDigest;
pub use facts::{CertificateFacts, Facts, Fingerprint};
pub use inspection::{Inspection, inspect};
pub use policy::{IdentityChange, Policy, Usage};
pub use reason::{Reason, Rejection, Warning};
pub use validated_pem::ValidatedPem;

use crate::source::{PartKind, RawMaterial};
use bundle::Bundle;
use chain::OwnChain;
use pem::Blocks;
use trust::Trust;
use validity::Validity;

/// Certificate chain, private key, CA roots and revocation lists that belong together and are
/// valid by policy.
///
/// Not `Clone`, and its `Debug` shows a name only: it holds a private key.
pub struct Material {
    facts: Facts,
    warnings: Vec<Warning>,
    digest: MaterialDigest,
    validity: Validity,
    identity: Arc<CertifiedKey>,
    server_verifier: Arc<WebPkiServerVerifier>,
    validated_pem: ValidatedPem,
}

impl Material {
    /// Judges a set on its own.
    ///
    /// Byte order marks, CRLF, text between blocks and blocks of other kinds are fine. What is
    /// doubtful but usable becomes one of [`Material::warnings`].
    ///
    /// # Errors
    /// A [`Rejection`] with the first thing that is wrong, structure before dates. It names file,
    /// position and field and never holds key bytes.
    pub fn parse(raw: &RawMaterial, policy: &Policy, now: SystemTime) -> Result<Self, Rejection> {
        match Self::assemble(raw, policy, now)? {
            (_, Some(expired)) => Err(expired),
            (material, None) => Ok(material),
        }
    }

    /// Judges a set that is to take the place of `active`: as [`Material::parse`], plus the rules
    /// about what may change.
    ///
    /// If `active` has expired at `now` too, an expired set that lasts longer is accepted with
    /// [`Warning::LocalClock`]: either nothing works any more anyway, or the local clock is fast
    /// and refusing would freeze us on the certificate that expires first.
    ///
    /// # Errors
    /// As [`Material::parse`], and [`Reason::IdentityChanged`] if the policy refuses a change of
    /// the names that NATS maps to a user.
    pub fn parse_successor(
        raw: &RawMaterial,
        policy: &Policy,
        now: SystemTime,
        active: &Self,
    ) -> Result<Self, Rejection> {
        let (mut material, expired) = Self::assemble(raw, policy, now)?;
        if let Some(expired) = expired {
            if !active.is_expired(now) || material.not_after() <= active.not_after() {
                return Err(expired);
            }
            material.warnings.push(Warning::LocalClock);
        }
        let origin = &raw.certificate.origin;
        let warnings = succession::compare(&material, active, policy, origin)?;
        material.warnings.extend(warnings);
        Ok(material)
    }

    /// Everything but the verdict about expiry, which depends on what is active. Must not leave
    /// this module with a rejection pending.
    fn assemble(
        raw: &RawMaterial,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<(Self, Option<Rejection>), Rejection> {
        let part = &raw.certificate;
        let blocks = Blocks::new(&part.bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|malformed| {
                let detail = format!("{}: {malformed}", part.origin);
                Rejection::of(PartKind::Certificate, Reason::BadPem, detail)
            })?;
        let certificates = chain::decode(part, &blocks)?;
        let chain = OwnChain::parse(&part.origin, &certificates)?;

        // A weak key before the key itself: the provider would not even load it.
        for certificate in chain.judged() {
            requirements::check_key_length(certificate, policy)?;
        }
        let key = key::find(raw, &blocks)?;
        chain.check_key(&*key, key::origin(raw))?;

        let mut warnings = BTreeSet::new();
        if !chain.check_path()? {
            warnings.insert(Warning::IntermediateOrder);
        }
        for certificate in chain.judged() {
            requirements::check_signature_hash(certificate)?;
            requirements::check_extended_usage(certificate, policy)?;
        }
        requirements::check_key_usage(&chain.leaf)?;
        if let Some(issuer) = &raw.issuer {
            let bundle = Bundle::decode(issuer, PartKind::Issuer)?;
            chain.check_leads_to(&issuer.origin, &bundle.parse()?)?;
        }
        let trust = Trust::parse(raw, policy, now)?;
        warnings.extend(trust.warnings);

        for certificate in chain.judged() {
            validity::check_begun(certificate, policy, now)?;
        }
        let expired = chain
            .judged()
            .find_map(|certificate| validity::check_not_ended(certificate, now).err());

        let validity = Validity::of(chain.judged());
        let facts = Facts::new(
            chain.leaf.facts.clone(),
            chain
                .all()
                .skip(1)
                .map(|certificate| certificate.facts.clone()),
            trust.roots,
        );
        drop(chain);
        let certificates = certificates.into_iter().map(|(der, _)| der).collect();
        let material = Self {
            digest: MaterialDigest::of(&facts, &trust.crls),
            facts,
            warnings: warnings.into_iter().collect(),
            validity,
            identity: Arc::new(CertifiedKey::new(certificates, key)),
            server_verifier: trust.verifier,
            validated_pem: ValidatedPem::copy(raw),
        };
        Ok((material, expired))
    }

    /// What the certificates say.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What is doubtful about this set; empty if nothing is.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Two materials with the same digest are the same for every handshake.
    #[must_use]
    pub fn digest(&self) -> MaterialDigest {
        self.digest
    }

    /// The latest `notBefore` of leaf and intermediates.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.validity.not_before
    }

    /// The earliest `notAfter` of leaf and intermediates, inclusive.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Whether leaf or an intermediate has expired at `now`, without any allowance for skew.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now > self.validity.not_after
    }

    /// The PEM bytes that were validated.
    #[must_use]
    pub fn validated_pem(&self) -> &ValidatedPem {
        &self.validated_pem
    }

    /// Chain and key, as rustls wants them.
    pub(crate) fn identity(&self) -> &Arc<CertifiedKey> {
        &self.identity
    }

    /// The verifier of server certificates made from roots and revocation lists.
    pub(crate) fn server_verifier(&self) -> &Arc<WebPkiServerVerifier> {
        &self.server_verifier
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("subject", &self.facts.leaf().subject)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
