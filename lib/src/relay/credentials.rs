//! Credentials that this process holds for clients that bring none: put into their CONNECT before it
//! goes upstream. What has to be signed is signed anew for each connection, so such a client can be
//! handed over, which one that signs for itself cannot.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use nkeys::KeyPair;
use zeroize::Zeroizing;

use crate::nats::{Authentication, AuthenticationError, Secret};
use crate::relay::protocol::{Connect, Credentials};

/// Why there is nothing to answer a server with. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// A seed or a credentials file is not what it should be.
    #[error(transparent)]
    Unusable(#[from] AuthenticationError),
    /// The application's callback failed.
    #[error("the application's callback did not answer the nonce: {0}")]
    Callback(String),
}

/// The CONNECT for a server that sent `nonce`: the client's own credentials if it has any, else
/// those of `held`.
pub(crate) async fn complete(
    connect: &Connect,
    held: &Authentication,
    nonce: Option<&str>,
) -> Result<Option<Connect>, AnswerError> {
    if connect.has_credentials() {
        return Ok(None);
    }
    let credentials = answer(held, nonce).await?;
    Ok(credentials.map(|credentials| connect.with_credentials(&credentials)))
}

async fn answer(
    held: &Authentication,
    nonce: Option<&str>,
) -> Result<Option<Credentials>, AnswerError> {
    Ok(match held {
        Authentication::CertificateOnly => None,
        Authentication::UserPassword { user, password } => Some(Credentials {
            user: Some(user.clone().into()),
            password: Some(copy(password.expose())),
            ..Credentials::default()
        }),
        Authentication::Token(token) => Some(Credentials {
            token: Some(copy(token.expose())),
            ..Credentials::default()
        }),
        Authentication::NkeySeed(seed) => Some(signed(seed.expose(), nonce)?),
        Authentication::Credentials(text) => Some(from_file(text, nonce)?),
        Authentication::Callback(callback) => {
            let nonce = nonce.unwrap_or_default().as_bytes().to_vec();
            let auth = callback(nonce)
                .await
                .map_err(|error| AnswerError::Callback(error.to_string()))?;
            let secret = |text: Option<String>| text.map(Zeroizing::new);
            let signature = auth.signature.map(|bytes| encode(&bytes));
            Some(Credentials {
                user: secret(auth.username),
                password: secret(auth.password),
                token: secret(auth.token),
                jwt: secret(auth.jwt),
                nkey: secret(auth.nkey),
                signature,
            })
        }
    })
}

/// The public key, and the nonce signed with the seed. A server that sends no nonce wants neither.
fn signed(seed: &str, nonce: Option<&str>) -> Result<Credentials, AuthenticationError> {
    let pair = KeyPair::from_seed(seed.trim()).map_err(|_| AuthenticationError::NkeySeed)?;
    let Some(nonce) = nonce else {
        return Ok(Credentials::default());
    };
    let signature = pair
        .sign(nonce.as_bytes())
        .map_err(|_| AuthenticationError::NkeySeed)?;
    Ok(Credentials {
        nkey: Some(pair.public_key().into()),
        signature: Some(encode(&signature)),
        ..Credentials::default()
    })
}

/// With a JWT the server takes the public key from there.
fn from_file(text: &Secret, nonce: Option<&str>) -> Result<Credentials, AuthenticationError> {
    let mut blocks = blocks(text.expose());
    let (Some(jwt), Some(seed)) = (blocks.next(), blocks.next()) else {
        return Err(AuthenticationError::Credentials);
    };
    let signed = signed(seed, nonce).map_err(|_| AuthenticationError::Credentials)?;
    Ok(Credentials {
        jwt: Some(copy(jwt)),
        nkey: None,
        ..signed
    })
}

/// The lines that stand alone between a line with BEGIN and one with END, both in dashes.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        lines.find(|line| line.starts_with("---") && line.contains("BEGIN"))?;
        lines.find(|line| !line.is_empty())
    })
    .filter(|line| !line.starts_with("---"))
}

fn copy(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn encode(signature: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(Base64UrlUnpadded::encode_string(signature))
}
