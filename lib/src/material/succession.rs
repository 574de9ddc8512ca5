//! Rules that compare a candidate with what is active. Owns those comparisons alone; the candidate
//! has been judged on its own merits before.

use super::Material;
use super::policy::{IdentityChange, Policy};
use super::reason::{Reason, Rejection, Warning};
use crate::source::PartKind;

/// The warnings about `candidate` taking the place of `active`.
///
/// # Errors
/// [`Reason::IdentityChanged`] if the names changed and the policy refuses that.
pub(super) fn compare(
    candidate: &Material,
    active: &Material,
    policy: &Policy,
    origin: &str,
) -> Result<Vec<Warning>, Rejection> {
    let (new, old) = (candidate.facts.leaf(), active.facts.leaf());
    let mut warnings = Vec::new();
    if new.nats_users != old.nats_users {
        match policy.identity_change {
            IdentityChange::Allow => {}
            IdentityChange::Warn => warnings.push(Warning::IdentityChanged),
            IdentityChange::Refuse => {
                let detail = format!(
                    "{origin}: certificate 1 names {:?}, the active one {:?} (subjectAltName, subject)",
                    new.nats_users, old.nats_users
                );
                return Err(Rejection::of(
                    PartKind::Certificate,
                    Reason::IdentityChanged,
                    detail,
                ));
            }
        }
    }
    if new.spki_sha256 != old.spki_sha256 {
        warnings.push(Warning::KeyChanged);
    }
    if candidate.not_after() < active.not_after() {
        warnings.push(Warning::EarlierExpiry);
    }
    Ok(warnings)
}
