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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::KeyPair;

    use super::super::pki::{DAY, Pki};
    use super::super::testdata::now;
    use super::super::{IdentityChange, Material, Policy, Reason, Warning};

    #[test]
    fn what_may_change() {
        let (pki, key, other) = (
            Pki::new("Acme"),
            KeyPair::generate().unwrap(),
            KeyPair::generate().unwrap(),
        );
        let policy = Policy::default();
        let active =
            Material::parse(&pki.client("a", &key, now() + 9 * DAY), &policy, now()).unwrap();
        let judge = |host, key, end, policy: &Policy| {
            Material::parse_successor(&pki.client(host, key, end), policy, now(), &active)
                .map(|material| material.warnings().to_vec())
                .map_err(|rejection| rejection.reason)
        };
        let later = now() + 20 * DAY;
        assert_eq!(judge("a", &key, later, &policy), Ok(vec![]));
        assert_eq!(
            judge("a", &other, later, &policy),
            Ok(vec![Warning::KeyChanged])
        );
        assert_eq!(
            judge("a", &key, now() + 8 * DAY, &policy),
            Ok(vec![Warning::EarlierExpiry])
        );

        assert_eq!(
            judge("b", &key, later, &policy),
            Ok(vec![Warning::IdentityChanged])
        );
        let allow = policy.clone().identity_change(IdentityChange::Allow);
        assert_eq!(judge("b", &key, later, &allow), Ok(vec![]));
        let refuse = policy.clone().identity_change(IdentityChange::Refuse);
        assert_eq!(
            judge("b", &key, later, &refuse),
            Err(Reason::IdentityChanged)
        );
        assert_eq!(judge("a", &key, later, &refuse), Ok(vec![]));
    }

    /// A clock that runs fast must not freeze us on the certificate that expires first.
    #[test]
    fn if_both_have_expired_the_later_one_wins() {
        let (pki, key, policy) = (
            Pki::new("Acme"),
            KeyPair::generate().unwrap(),
            Policy::default(),
        );
        let end = now() + 9 * DAY;
        let active = Material::parse(&pki.client("a", &key, end), &policy, now()).unwrap();
        let judge = |candidate_end, at| {
            Material::parse_successor(&pki.client("a", &key, candidate_end), &policy, at, &active)
                .map(|material| material.warnings().to_vec())
                .map_err(|rejection| rejection.reason)
        };
        let after = end + DAY;
        assert_eq!(judge(end + DAY / 2, after), Ok(vec![Warning::LocalClock]));
        assert_eq!(judge(end + 9 * DAY, after), Ok(vec![]));
        assert_eq!(judge(end, after), Err(Reason::Expired));
        assert_eq!(judge(end - DAY, after), Err(Reason::Expired));
        // As long as the active one is valid, an expired candidate is just expired.
        assert_eq!(judge(now() - DAY, now()), Err(Reason::Expired));
        assert!(!active.is_expired(end));
        assert!(active.is_expired(end + Duration::from_nanos(1)));
    }
}
