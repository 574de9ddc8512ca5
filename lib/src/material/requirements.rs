//! What the own certificates must be good for: length of keys, hashes, usage. Owns the rules that
//! need only one certificate at a time and no date.

use super::certificate::Certificate;
use super::facts::rsa_bits;
use super::policy::{Policy, Usage};
use super::reason::{Reason, Rejection};
use super::signature::broken_hash;
use crate::source::PartKind;

/// Rejects an RSA key that is too short.
pub(super) fn check_key_length(
    certificate: &Certificate<'_>,
    policy: &Policy,
) -> Result<(), Rejection> {
    let minimum = policy.minimum_rsa_bits;
    match rsa_bits(certificate.x509.public_key()) {
        Some(bits) if bits < minimum as usize => reject(
            certificate,
            Reason::WeakKey,
            format_args!(
                "has an RSA key of {bits} bits, less than {minimum} (subjectPublicKeyInfo)"
            ),
        ),
        _ => Ok(()),
    }
}

/// Rejects a signature that anybody could have made.
pub(super) fn check_signature_hash(certificate: &Certificate<'_>) -> Result<(), Rejection> {
    match broken_hash(&certificate.x509) {
        Some(hash) => reject(
            certificate,
            Reason::WeakSignature,
            format_args!("is signed with {hash} (signatureAlgorithm)"),
        ),
        None => Ok(()),
    }
}

/// Rejects an extended key usage that lacks the one the policy asks for. None at all allows
/// everything; on an intermediate it limits what is below (as Go and webpki have it).
pub(super) fn check_extended_usage(
    certificate: &Certificate<'_>,
    policy: &Policy,
) -> Result<(), Rejection> {
    let Some(usage) = certificate.x509.extended_key_usage().ok().flatten() else {
        return Ok(());
    };
    let fits = match policy.usage {
        Usage::Client => usage.value.client_auth,
        Usage::Server => usage.value.server_auth,
    };
    if fits || usage.value.any {
        return Ok(());
    }
    reject(
        certificate,
        Reason::WrongUsage,
        format_args!("is not for {} (extKeyUsage)", policy.usage.as_str()),
    )
}

/// Rejects a leaf whose key may not sign a handshake (RFC 8446, section 4.4.2.4).
pub(super) fn check_key_usage(leaf: &Certificate<'_>) -> Result<(), Rejection> {
    match leaf.x509.key_usage().ok().flatten() {
        Some(usage) if !usage.value.digital_signature() => reject(
            leaf,
            Reason::WrongUsage,
            format_args!("may not sign handshakes (keyUsage lacks digitalSignature)"),
        ),
        _ => Ok(()),
    }
}

fn reject(
    certificate: &Certificate<'_>,
    reason: Reason,
    problem: std::fmt::Arguments<'_>,
) -> Result<(), Rejection> {
    let detail = format!("{certificate} {problem}");
    Err(Rejection::of(PartKind::Certificate, reason, detail))
}
