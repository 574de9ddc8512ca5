//! The own chain: which certificate is the leaf, and whether all the others lead on from it.
//! Owns structure; must not know about dates, usage or strength.
//!
//! The path is built here and not by webpki, because webpki cannot say which certificate is the
//! odd one out, and refuses what Go accepts in a client's chain (version 1 leaves, a CA as leaf).
//! What slips through is caught by the preflight; what is refused here is certainly wrong.

use rustls::sign::SigningKey;
use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, Position};
use super::key;
use super::pem::{Block, Label};
use super::reason::{Reason, Rejection};
use super::signature::{Issued, issued_by};
use crate::source::{PartKind, RawPart};

/// Bounds path building. Real chains have two to four certificates.
const MAXIMUM_CERTIFICATES: usize = 16;

/// Bounds the signatures checked for a bundle full of certificates with one name.
const MAXIMUM_NAMESAKES: usize = 64;

/// The decoded certificates of the own chain with the line each one begins on; never empty.
pub(super) fn decode(
    part: &RawPart,
    blocks: &[Block<'_>],
) -> Result<Vec<(CertificateDer<'static>, usize)>, Rejection> {
    let refuse = |reason, detail: String| {
        let detail = format!("{}: {detail}", part.origin);
        Err(Rejection::of(PartKind::Certificate, reason, detail))
    };
    let blocks = blocks
        .iter()
        .filter(|block| block.label == Label::Certificate);
    let mut certificates = Vec::new();
    for block in blocks {
        let number = certificates.len() + 1;
        if number > MAXIMUM_CERTIFICATES {
            let detail = format!("more than {MAXIMUM_CERTIFICATES} certificates in the own chain");
            return refuse(Reason::BrokenChain, detail);
        }
        let Some(der) = block.decode() else {
            let detail = format!(
                "certificate {number} (line {}) is not valid base64",
                block.line
            );
            return refuse(Reason::BadPem, detail);
        };
        certificates.push((CertificateDer::from(der), block.line));
    }
    if certificates.is_empty() {
        return refuse(Reason::NoCertificate, "no certificate in it".to_owned());
    }
    Ok(certificates)
}

/// The own chain, in the order of the file.
pub(super) struct OwnChain<'a> {
    pub(super) leaf: Certificate<'a>,
    others: Vec<Other<'a>>,
}

struct Other<'a> {
    certificate: Certificate<'a>,
    /// A self-signed root at the end of a chain is common and harmless: the server ignores it, so
    /// its dates and its strength do not count.
    is_root: bool,
}

impl<'a> OwnChain<'a> {
    pub(super) fn parse(
        origin: &'a str,
        certificates: &'a [(CertificateDer<'static>, usize)],
    ) -> Result<Self, Rejection> {
        let mut parsed = certificates.iter().enumerate().map(|(index, (der, line))| {
            let position = Position {
                origin,
                noun: "certificate",
                number: index + 1,
                line: *line,
            };
            Certificate::parse(der, position).map_err(|problem| {
                let detail = format!("{position}: {problem}");
                Rejection::of(PartKind::Certificate, Reason::BadCertificate, detail)
            })
        });
        let Some(leaf) = parsed.next() else {
            let detail = format!("{origin}: no certificate in it");
            return Err(Rejection::of(
                PartKind::Certificate,
                Reason::NoCertificate,
                detail,
            ));
        };
        let leaf = leaf?;
        let others = parsed
            .map(|certificate| {
                let certificate = certificate?;
                let is_root = issued_by(&certificate.x509, &certificate.x509).is_plausible();
                Ok(Other {
                    certificate,
                    is_root,
                })
            })
            .collect::<Result<_, Rejection>>()?;
        Ok(Self { leaf, others })
    }

    /// Every certificate.
    pub(super) fn all(&self) -> impl Iterator<Item = &Certificate<'a>> {
        let others = self.others.iter().map(|other| &other.certificate);
        std::iter::once(&self.leaf).chain(others)
    }

    /// The leaf and the intermediates: what dates, usage and strength are judged on.
    pub(super) fn judged(&self) -> impl Iterator<Item = &Certificate<'a>> {
        let others = self.others.iter().filter(|other| !other.is_root);
        std::iter::once(&self.leaf).chain(others.map(|other| &other.certificate))
    }

    /// Checks that the key, which came from `origin`, belongs to the first certificate. A signer
    /// that does not tell its public key is taken at its word.
    pub(super) fn check_key(&self, key: &dyn SigningKey, origin: &str) -> Result<(), Rejection> {
        let Some(public_key) = key.public_key() else {
            return Ok(());
        };
        let owner = self
            .all()
            .find(|certificate| certificate.x509.public_key().raw == public_key.as_ref());
        match owner {
            Some(owner) if owner.number() == self.leaf.number() => Ok(()),
            Some(owner) => Err(broken(format!(
                "{} is not the leaf: the private key belongs to certificate {}",
                self.leaf,
                owner.number()
            ))),
            None => Err(Rejection::of(
                PartKind::Key,
                Reason::KeyMismatch,
                format!(
                    "{origin}: the private key ({}) does not belong to {} ({}, subjectPublicKeyInfo)",
                    key::algorithm(key),
                    self.leaf,
                    self.leaf.facts.key_algorithm
                ),
            )),
        }
    }

    /// Checks that every certificate is reached from the leaf by names and signatures. Answers
    /// whether each one also follows one that it certifies (RFC 8446, section 4.4.2).
    pub(super) fn check_path(&self) -> Result<bool, Rejection> {
        let mut waiting = self.others.iter().collect::<Vec<_>>();
        // The certificates reached so far, with the number of CA certificates below each.
        let mut reached = vec![(&self.leaf, 0_u32)];
        let mut next = 0;
        let mut in_order = vec![self.leaf.number()];
        while let Some((child, below)) = reached.get(next).copied() {
            next += 1;
            for other in &self.others {
                let parent = &other.certificate;
                if parent.number() == child.number()
                    || !issued_by(&child.x509, &parent.x509).is_plausible()
                {
                    continue;
                }
                if parent.number() > child.number() {
                    in_order.push(parent.number());
                }
                let unreached = waiting.len();
                waiting.retain(|waiting| waiting.certificate.number() != parent.number());
                if waiting.len() < unreached {
                    if !other.is_root {
                        check_authority(parent, below)?;
                    }
                    reached.push((parent, below + 1));
                }
            }
        }
        match waiting.first() {
            Some(stray) => Err(self.stray(&stray.certificate)),
            None => Ok(self
                .all()
                .all(|certificate| in_order.contains(&certificate.number()))),
        }
    }

    /// Checks that the chain ends at one of `issuers`.
    pub(super) fn check_leads_to(
        &self,
        origin: &str,
        issuers: &[Certificate<'_>],
    ) -> Result<(), Rejection> {
        let leads = self.all().any(|certificate| {
            issuers.iter().any(|issuer| {
                certificate.facts.fingerprint_sha256 == issuer.facts.fingerprint_sha256
            }) || issuers
                .iter()
                .filter(|issuer| issuer.facts.subject == certificate.facts.issuer)
                .take(MAXIMUM_NAMESAKES)
                .any(|issuer| issued_by(&certificate.x509, &issuer.x509).is_plausible())
        });
        if leads {
            return Ok(());
        }
        Err(broken(format!(
            "the chain of {} (issuer {:?}) does not lead to a certificate of {origin}",
            self.leaf, self.leaf.facts.issuer
        )))
    }

    /// Says why a certificate is not on the path.
    fn stray(&self, stray: &Certificate<'_>) -> Rejection {
        let namesake = self
            .all()
            .find(|certificate| issued_by(&certificate.x509, &stray.x509) == Issued::NameOnly);
        broken(match namesake {
            Some(child) => format!(
                "{stray} has the name of the issuer of certificate {} but did not sign it",
                child.number()
            ),
            None => format!(
                "{stray} (subject {:?}) does not belong to the chain of certificate 1",
                stray.facts.subject
            ),
        })
    }
}

/// What RFC 5280, section 6.1.4, asks of a certificate that issues others.
fn check_authority(certificate: &Certificate<'_>, below: u32) -> Result<(), Rejection> {
    let constraints = certificate.x509.basic_constraints().ok().flatten();
    let usage = certificate.x509.key_usage().ok().flatten();
    let problem = if !certificate.facts.is_ca {
        "is not a CA (basicConstraints) but issued another one"
    } else if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        "may not sign certificates (keyUsage lacks keyCertSign) but did"
    } else if constraints
        .and_then(|constraints| constraints.value.path_len_constraint)
        .is_some_and(|limit| below > limit)
    {
        "has more CA certificates below it than its pathLenConstraint allows"
    } else {
        return Ok(());
    };
    Err(broken(format!("{certificate} {problem}")))
}

fn broken(detail: String) -> Rejection {
    Rejection::of(PartKind::Certificate, Reason::BrokenChain, detail)
}
