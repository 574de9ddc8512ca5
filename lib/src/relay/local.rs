//! Who may use the relay: credentials that clients give in their CONNECT and that never go upstream.
//!
//! Owns the comparison and what a wrong guess costs. Knows nothing of the credentials upstream.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::nats::Secret;
use crate::relay::protocol::Connect;

/// A wrong guess is answered only after this time, and holds its session all the while, also if the
/// client has left: guesses are limited to the number of sessions in this time.
pub(crate) const WRONG_GUESS_COSTS: Duration = Duration::from_secs(1);

/// The answer to a wrong guess, that of nats-server.
pub(crate) const DENIED: &str = "Authorization Violation";

/// What a client of the relay must say. Secrets are zeroised on drop and never printed.
#[derive(Clone)]
pub struct LocalCredentials(Kind);

#[derive(Clone)]
enum Kind {
    UserPassword { user: String, password: Secret },
    Token(Secret),
}

impl LocalCredentials {
    /// A user with a password.
    #[must_use]
    pub fn user_password(user: impl Into<String>, password: Secret) -> Self {
        Self(Kind::UserPassword {
            user: user.into(),
            password,
        })
    }

    /// A token.
    #[must_use]
    pub const fn token(token: Secret) -> Self {
        Self(Kind::Token(token))
    }

    /// Whether a CONNECT with these fields is let in. Takes the same time whatever is wrong, apart
    /// from the length of what the client sent.
    pub(crate) fn admit(
        &self,
        user: Option<&str>,
        password: Option<&str>,
        token: Option<&str>,
    ) -> bool {
        match &self.0 {
            Kind::UserPassword {
                user: expected_user,
                password: expected_password,
            } => bool::from(same(user, expected_user) & same(password, expected_password.expose())),
            Kind::Token(expected) => bool::from(same(token, expected.expose())),
        }
    }
}

/// The CONNECT without what was meant for the relay; none if it did not say what it must.
pub(crate) fn admit(local: Option<&LocalCredentials>, connect: Connect) -> Option<Connect> {
    let Some(local) = local else {
        return Some(connect);
    };
    let (user, password, token) = connect.local_credentials();
    let admitted = local.admit(
        text(user.as_ref()),
        text(password.as_ref()),
        text(token.as_ref()),
    );
    admitted.then(|| connect.without_credentials())
}

fn text(given: Option<&Zeroizing<String>>) -> Option<&str> {
    given.map(|text| text.as_str())
}

/// Digests have one length, so that the comparison tells nothing of that of the secret.
fn same(given: Option<&str>, expected: &str) -> Choice {
    let given_digest = Sha256::digest(given.unwrap_or_default());
    let is_given = Choice::from(u8::from(given.is_some()));
    given_digest
        .as_slice()
        .ct_eq(Sha256::digest(expected).as_slice())
        & is_given
}

impl fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::UserPassword { .. } => "LocalCredentials(user and password)",
            Kind::Token(_) => "LocalCredentials(token)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_truth_is_let_in() {
        let user = LocalCredentials::user_password("orders", Secret::new("s3cret"));
        let cases = [
            (Some("orders"), Some("s3cret"), None, true),
            // More than is asked for does not hurt: it is taken off.
            (Some("orders"), Some("s3cret"), Some("x"), true),
            (Some("orders"), Some("s3cre"), None, false),
            (Some("orders"), Some("s3cret "), None, false),
            (Some("Orders"), Some("s3cret"), None, false),
            (Some("orders"), None, None, false),
            (None, Some("s3cret"), None, false),
            (None, None, Some("s3cret"), false),
            (None, None, None, false),
        ];
        for (name, password, token, admitted) in cases {
            assert_eq!(
                user.admit(name, password, token),
                admitted,
                "{name:?} {password:?} {token:?}"
            );
        }
        let token = LocalCredentials::token(Secret::new("t0ken"));
        assert!(token.admit(None, None, Some("t0ken")));
        for wrong in [None, Some(""), Some("t0ke"), Some("t0kenn")] {
            assert!(!token.admit(None, None, wrong), "{wrong:?}");
        }
        assert!(!token.admit(Some("t0ken"), Some("t0ken"), None));
    }

    #[test]
    fn what_is_missing_is_not_an_empty_secret() {
        let empty = LocalCredentials::token(Secret::new(""));
        assert!(!empty.admit(None, None, None));
    }

    #[test]
    fn nothing_secret_is_printed() {
        for credentials in [
            LocalCredentials::user_password("orders", Secret::new("s3cret")),
            LocalCredentials::token(Secret::new("s3cret")),
        ] {
            assert!(!format!("{credentials:?}").contains("s3cret"));
        }
    }
}
