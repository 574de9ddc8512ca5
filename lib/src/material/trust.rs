//! Whom to trust on the other side: roots and revocation lists, made into the verifier of the
//! server's certificate. Owns everything that could make that fail, so that nothing fails later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls_pki_types::CertificateRevocationListDer;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::bundle::Bundle;
use super::facts::{CertificateFacts, Fingerprint, system_time};
use super::pem::{Blocks, Label};
use super::policy::Policy;
use super::reason::{Reason, Rejection, Warning};
use crate::source::{PartKind, RawMaterial, RawPart};

/// Roots and revocation lists, checked.
pub(super) struct Trust {
    pub(super) roots: Vec<CertificateFacts>,
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) crls: BTreeSet<Fingerprint>,
    pub(super) warnings: BTreeSet<Warning>,
}

impl Trust {
    pub(super) fn parse(
        raw: &RawMaterial,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<Self, Rejection> {
        let mut warnings = BTreeSet::new();
        let (store, roots) = parse_roots(&raw.roots)?;
        if roots.iter().any(|root| now > root.not_after) {
            warnings.insert(Warning::ExpiredRoot);
        }
        let lists = raw
            .crls
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), parse_crls)?;
        if lists
            .iter()
            .any(|list| list.next_update.is_some_and(|next| now > next))
        {
            warnings.insert(Warning::ExpiredCrl);
        }
        let crls = lists
            .iter()
            .map(|list| Fingerprint::of(&list.der))
            .collect();

        let mut builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), crate::crypto::provider())
                .with_crls(lists.into_iter().map(|list| list.der));
        builder = if policy.crl_strict {
            builder.enforce_revocation_expiration()
        } else {
            // By default rustls denies unknown status: one list of one issuer would then refuse
            // every chain that does not come from it.
            builder.allow_unknown_revocation_status()
        };
        // Roots and lists have been parsed one by one above, so that an error could name them.
        let verifier = builder.build().map_err(|_| {
            let detail = format!("{}: no server verifier can be made of it", raw.roots.origin);
            Rejection::of(PartKind::Roots, Reason::BadRoot, detail)
        })?;
        Ok(Self {
            roots,
            verifier,
            crls,
            warnings,
        })
    }
}

fn parse_roots(part: &RawPart) -> Result<(RootCertStore, Vec<CertificateFacts>), Rejection> {
    let bundle = Bundle::decode(part, PartKind::Roots)?;
    let mut store = RootCertStore::empty();
    let mut facts = Vec::new();
    for (root, (der, _)) in bundle.parse()?.into_iter().zip(&bundle.certificates) {
        if store.add(der.clone()).is_err() {
            let detail = format!("{root} cannot be a trust anchor");
            return Err(Rejection::of(PartKind::Roots, Reason::BadRoot, detail));
        }
        facts.push(root.facts);
    }
    Ok((store, facts))
}

struct List {
    der: CertificateRevocationListDer<'static>,
    next_update: Option<SystemTime>,
}

fn parse_crls(part: &RawPart) -> Result<Vec<List>, Rejection> {
    let refuse = |detail: String| {
        let detail = format!("{}: {detail}", part.origin);
        Err(Rejection::of(PartKind::Crls, Reason::BadCrl, detail))
    };
    let mut lists = Vec::new();
    for block in Blocks::new(&part.bytes) {
        let block = block.map_err(|malformed| {
            let detail = format!("{}: {malformed}", part.origin);
            Rejection::of(PartKind::Crls, Reason::BadPem, detail)
        })?;
        if block.label != Label::Crl {
            continue;
        }
        let position = format!("revocation list {} (line {})", lists.len() + 1, block.line);
        let Some(der) = block.decode() else {
            return refuse(format!("{position} is not valid base64"));
        };
        // The form rustls accepts: version 2, complete and direct, with a nextUpdate.
        if webpki::BorrowedCertRevocationList::from_der(&der).is_err() {
            return refuse(format!(
                "{position} is damaged or of a kind that is not supported"
            ));
        }
        let next_update = CertificateRevocationList::from_der(&der)
            .ok()
            .and_then(|(_, list)| list.next_update())
            .map(system_time);
        lists.push(List {
            der: CertificateRevocationListDer::from(der),
            next_update,
        });
    }
    if lists.is_empty() {
        return refuse("no revocation list in it".to_owned());
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls::CertificateError;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls_pki_types::{ServerName, UnixTime};

    use super::super::pki::{DAY, Pki};
    use super::super::testdata::now;
    use super::super::{Material, Policy, Warning};

    /// What the verifier says about the server, for a list and a policy.
    fn verdict(
        list: Option<(i32, bool)>,
        lists_of_another_issuer: bool,
        strict: bool,
    ) -> (Vec<Warning>, Result<(), rustls::Error>) {
        let (pki, other) = (Pki::new("Acme"), Pki::new("Other"));
        let mut raw = pki.client("a", &KeyPair::generate().unwrap(), now() + DAY);
        raw.crls = list.map(|(days, revoked)| {
            let end = if days < 0 { now() - DAY } else { now() + DAY };
            let issuer = if lists_of_another_issuer {
                &other
            } else {
                &pki
            };
            issuer.revocation_list(end, revoked)
        });
        let policy = Policy::default().crl_strict(strict);
        let material = Material::parse(&raw, &policy, now()).unwrap();
        let at = now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let verified = material.server_verifier().verify_server_cert(
            pki.server().der(),
            &[],
            &ServerName::try_from("nats.example").unwrap(),
            &[],
            UnixTime::since_unix_epoch(at),
        );
        (material.warnings().to_vec(), verified.map(|_| ()))
    }

    #[test]
    fn lists_are_enforced_against_the_server() {
        let revoked = Err(rustls::Error::InvalidCertificate(CertificateError::Revoked));
        let unknown = CertificateError::UnknownRevocationStatus;
        let unknown = Err(rustls::Error::InvalidCertificate(unknown));
        let expired = |error: &rustls::Error| {
            matches!(
                error,
                rustls::Error::InvalidCertificate(
                    CertificateError::ExpiredRevocationListContext { .. }
                )
            )
        };
        assert_eq!(verdict(None, false, true), (vec![], Ok(())));
        for strict in [false, true] {
            assert_eq!(verdict(Some((1, false)), false, strict), (vec![], Ok(())));
            assert_eq!(
                verdict(Some((1, true)), false, strict),
                (vec![], revoked.clone())
            );
        }
        assert_eq!(verdict(Some((1, false)), true, false), (vec![], Ok(())));
        assert_eq!(verdict(Some((1, false)), true, true), (vec![], unknown));
        // An expired list still revokes; only strict asks for a new one.
        let warning = vec![Warning::ExpiredCrl];
        assert_eq!(
            verdict(Some((-1, false)), false, false),
            (warning.clone(), Ok(()))
        );
        assert_eq!(
            verdict(Some((-1, true)), false, false),
            (warning.clone(), revoked)
        );
        let (warnings, verified) = verdict(Some((-1, false)), false, true);
        assert_eq!(warnings, warning);
        assert!(expired(&verified.unwrap_err()));
    }
}
