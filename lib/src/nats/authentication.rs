//! Who the client says it is, besides its certificate. Secrets are zeroised on drop and never
//! printed.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::{Auth, AuthError, ConnectOptions, ServerAddr};
use zeroize::Zeroizing;

/// The answer to a server's nonce.
pub type AuthenticationFuture =
    Pin<Box<dyn Future<Output = Result<Auth, AuthError>> + Send + Sync + 'static>>;

type Callback = dyn Fn(Vec<u8>) -> AuthenticationFuture + Send + Sync;

/// The NATS authentication that is used beside the TLS identity.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Authentication {
    /// The certificate alone (`verify`, `verify_and_map`).
    #[default]
    CertificateOnly,
    /// User and password.
    UserPassword {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// An nkey seed, which signs the server's nonce.
    NkeySeed(Secret),
    /// The text of a credentials file: a JWT and the seed that signs for it.
    Credentials(Secret),
    /// The application answers each nonce. Also called for each preflight.
    Callback(Arc<Callback>),
}

/// A secret text: compared, used, never printed, zeroised on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    fn text(&self) -> String {
        self.expose().to_owned()
    }

    /// The text itself, for whoever has to compare or send it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Authentication that cannot be used. Never repeats the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticationError {
    /// A secret's file cannot be read, or is not a small regular text file.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// The credentials hold no JWT with a seed.
    #[error("the credentials are not a NATS credentials file (a JWT and an nkey seed)")]
    Credentials,
    /// The seed does not decode.
    #[error("the seed is not an nkey seed (it starts with S, for a user with SU)")]
    NkeySeed,
}

/// More than any credentials file needs, in bytes.
const SECRET_FILE_LIMIT: u64 = 64 * 1024;

impl Authentication {
    /// A secret from a file, without its last line end; at most 64 KiB.
    ///
    /// # Errors
    /// [`AuthenticationError::File`] with the path.
    pub fn secret_file(path: impl AsRef<Path>) -> Result<Secret, AuthenticationError> {
        let path = path.as_ref();
        let failed = |cause: String| AuthenticationError::File {
            path: path.display().to_string(),
            cause,
        };
        let bytes = crate::source::read_regular_file(path, SECRET_FILE_LIMIT)
            .map_err(|cause| failed(cause.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("is not text".into()))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(failed("is empty".into()));
        }
        Ok(Secret::new(text))
    }

    /// Whether the secret is of the form that it must have, before anybody is dialled.
    ///
    /// # Errors
    /// [`AuthenticationError::Credentials`] or [`AuthenticationError::NkeySeed`].
    pub fn validate(&self) -> Result<(), AuthenticationError> {
        self.options().map(drop)
    }

    /// The user information of a URL: `user:password@`, or `token@`.
    pub(crate) fn from_url(address: &ServerAddr) -> Option<Self> {
        let user = decode(address.username()?);
        Some(match address.password() {
            Some(password) => Self::UserPassword {
                user,
                password: Secret::new(decode(password)),
            },
            None => Self::Token(Secret::new(user)),
        })
    }

    /// Fresh options with this authentication.
    pub(crate) fn options(&self) -> Result<ConnectOptions, AuthenticationError> {
        let options = ConnectOptions::new();
        Ok(match self {
            Self::CertificateOnly => options,
            Self::UserPassword { user, password } => {
                options.user_and_password(user.clone(), password.text())
            }
            Self::Token(token) => options.token(token.text()),
            Self::NkeySeed(seed) => {
                nkeys::KeyPair::from_seed(&seed.0).map_err(|_| AuthenticationError::NkeySeed)?;
                options.nkey(seed.text())
            }
            Self::Credentials(text) => options
                .credentials(&with_last_line_ended(text))
                .map_err(|_| AuthenticationError::Credentials)?,
            Self::Callback(callback) => {
                let callback = Arc::clone(callback);
                ConnectOptions::with_auth_callback(move |nonce| callback(nonce))
            }
        })
    }
}

/// async-nats overlooks a block whose last line has no end, and whoever reads a secret from a file takes
/// that away.
fn with_last_line_ended(text: &Secret) -> Zeroizing<String> {
    let text = text.expose();
    let mut ended = Zeroizing::new(String::with_capacity(text.len() + 1));
    ended.push_str(text);
    ended.push('\n');
    ended
}

/// User information is percent-encoded in a URL (RFC 3986, section 3.2.1).
fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

impl PartialEq for Authentication {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CertificateOnly, Self::CertificateOnly) => true,
            (
                Self::UserPassword { user, password },
                Self::UserPassword {
                    user: other_user,
                    password: other_password,
                },
            ) => user == other_user && password == other_password,
            (Self::Token(own), Self::Token(other))
            | (Self::NkeySeed(own), Self::NkeySeed(other))
            | (Self::Credentials(own), Self::Credentials(other)) => own == other,
            (Self::Callback(own), Self::Callback(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CertificateOnly => "CertificateOnly",
            Self::UserPassword { .. } => "UserPassword(…)",
            Self::Token(_) => "Token(…)",
            Self::NkeySeed(_) => "NkeySeed(…)",
            Self::Credentials(_) => "Credentials(…)",
            Self::Callback(_) => "Callback(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_user_information_is_decoded() {
        let parse = |url: &str| Authentication::from_url(&url.parse().unwrap());
        assert_eq!(parse("tls://a:4222"), None);
        assert_eq!(
            parse("tls://t%2Foken@a"),
            Some(Authentication::Token(Secret::new("t/oken")))
        );
        assert_eq!(
            parse("tls://al%20ice:p%40ss%@a"),
            Some(Authentication::UserPassword {
                user: "al ice".into(),
                password: Secret::new("p@ss%"),
            })
        );
    }

    #[test]
    fn a_credentials_file_may_end_with_its_last_block() {
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.a-jwt\n------END NATS USER JWT------\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------"
        );
        for text in [format!("{text}\r\n"), text] {
            let credentials = Authentication::Credentials(Secret::new(text));
            assert!(credentials.validate().is_ok());
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secret = Secret::new("s3cret");
        for authentication in [
            Authentication::Token(secret.clone()),
            Authentication::NkeySeed(secret.clone()),
            Authentication::UserPassword {
                user: "alice".into(),
                password: secret.clone(),
            },
        ] {
            assert!(!format!("{authentication:?} {secret:?}").contains("s3cret"));
        }
        for authentication in [
            Authentication::Credentials(secret.clone()),
            Authentication::NkeySeed(secret),
        ] {
            let error = authentication.validate().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }
}
