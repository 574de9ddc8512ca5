//! Signatures between certificates. Owns "did this key sign that" and "is this algorithm broken";
//! must not decide what follows from it.

use x509_parser::asn1_rs::ToDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use super::facts::rsa_bits;

/// Whether one certificate issued another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issued {
    Yes,
    /// The name fits but the signature does not.
    NameOnly,
    No,
    /// The name fits; the crypto provider cannot check this kind of signature, the server may.
    Unverifiable,
}

impl Issued {
    /// What cannot be checked here is left to the server: a preflight finds out.
    pub(super) fn is_plausible(self) -> bool {
        matches!(self, Self::Yes | Self::Unverifiable)
    }
}

/// Whether `issuer` issued `certificate`: by name and signature (RFC 5280, section 6.1.3 a).
pub(super) fn issued_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Issued {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Issued::No;
    }
    let key = issuer.public_key();
    // Outside these sizes the algorithms below fail as if the signature were wrong.
    if rsa_bits(key).is_some_and(|bits| !(2048..=8192).contains(&bits)) {
        return Issued::Unverifiable;
    }
    let key_algorithm = encoded(&key.algorithm);
    let signature_algorithm = encoded(&certificate.signature_algorithm);
    let provider = crate::crypto::provider();
    let mut fitting = provider
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm.signature_alg_id().as_ref() == signature_algorithm
        })
        .peekable();
    if fitting.peek().is_none() {
        return Issued::Unverifiable;
    }
    let signed = fitting.any(|algorithm| {
        algorithm
            .verify_signature(
                &key.subject_public_key.data,
                certificate.tbs_certificate.as_ref(),
                &certificate.signature_value.data,
            )
            .is_ok()
    });
    if signed {
        Issued::Yes
    } else {
        Issued::NameOnly
    }
}

/// The content of an AlgorithmIdentifier, as `rustls-pki-types` holds it: without the SEQUENCE.
fn encoded(algorithm: &AlgorithmIdentifier<'_>) -> Vec<u8> {
    let mut der = algorithm.algorithm.to_der_vec().unwrap_or_default();
    if let Some(parameters) = algorithm.parameters() {
        der.extend(parameters.to_der_vec().unwrap_or_default());
    }
    der
}

/// The name of the hash if a certificate is signed with one for which collisions can be made.
pub(super) fn broken_hash(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let algorithm = &certificate.signature_algorithm;
    match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.3" => Some("MD4"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        // RSA in PKCS #1 and in OIW, DSA, ECDSA.
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1" => {
            Some("SHA-1")
        }
        // RSASSA-PSS: the hash is a parameter, and SHA-1 if left out (RFC 4055, section 3.1).
        "1.2.840.113549.1.1.10" => {
            let parameters = RsaSsaPssParams::try_from(algorithm.parameters()?).ok()?;
            match parameters.hash_algorithm_oid().to_id_string().as_str() {
                "1.3.14.3.2.26" => Some("SHA-1"),
                "1.2.840.113549.2.5" => Some("MD5"),
                _ => None,
            }
        }
        _ => None,
    }
}
