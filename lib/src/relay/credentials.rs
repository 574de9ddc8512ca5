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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_nats::Auth;

    use super::*;

    fn bare() -> Connect {
        Connect::parse(br#"{"name":"legacy"}"#).unwrap()
    }

    async fn said(held: &Authentication, nonce: Option<&str>) -> String {
        let connect = complete(&bare(), held, nonce).await.unwrap();
        String::from_utf8(connect.unwrap_or(bare()).line().to_vec()).unwrap()
    }

    fn field(line: &str, name: &str) -> Option<String> {
        let json = line.trim_end().strip_prefix("CONNECT ").unwrap();
        let object: serde_json::Value = serde_json::from_str(json).unwrap();
        Some(object.get(name)?.as_str().unwrap().to_owned())
    }

    /// As the server does it.
    fn verify(pair: &KeyPair, nonce: &str, line: &str) {
        let signature = Base64UrlUnpadded::decode_vec(&field(line, "sig").unwrap()).unwrap();
        pair.verify(nonce.as_bytes(), &signature).unwrap();
    }

    #[tokio::test]
    async fn a_client_says_for_itself_who_it_is_if_it_can() {
        let held = Authentication::Token(Secret::new("t0ken"));
        for own in [
            r#"{"user":"u","pass":"p"}"#,
            r#"{"auth_token":"x"}"#,
            r#"{"jwt":"bearer"}"#,
            r#"{"nkey":"U","sig":"s"}"#,
        ] {
            let connect = Connect::parse(own.as_bytes()).unwrap();
            let completed = complete(&connect, &held, Some("abc")).await.unwrap();
            assert!(completed.is_none(), "{own}");
        }
        let empty = Connect::parse(br#"{"user":"","pass":""}"#).unwrap();
        assert!(complete(&empty, &held, None).await.unwrap().is_some());
        assert_eq!(
            field(&said(&held, None).await, "auth_token").unwrap(),
            "t0ken"
        );
        let line = said(&held, None).await;
        assert_eq!(field(&line, "name").unwrap(), "legacy");
    }

    #[tokio::test]
    async fn every_nonce_is_signed_anew() {
        let pair = KeyPair::new_user();
        let seed = Secret::new(pair.seed().unwrap());
        let text = format!(
            "-----BEGIN NATS USER JWT-----\r\neyJ0.a-jwt\r\n------END NATS USER JWT------\r\n\r\n\
             ************ IMPORTANT ************\n\
             -----BEGIN USER NKEY SEED-----\n\n{}\n------END USER NKEY SEED------\n",
            pair.seed().unwrap()
        );
        let file = Authentication::Credentials(Secret::new(text));
        let held = Authentication::NkeySeed(seed);
        for nonce in ["abc", "def"] {
            let line = said(&held, Some(nonce)).await;
            verify(&pair, nonce, &line);
            assert_eq!(field(&line, "nkey").unwrap(), pair.public_key());
            let line = said(&file, Some(nonce)).await;
            verify(&pair, nonce, &line);
            assert_eq!(field(&line, "jwt").unwrap(), "eyJ0.a-jwt");
            assert_eq!(field(&line, "nkey"), None);
        }
    }

    #[tokio::test]
    async fn the_application_may_answer() {
        let held = Authentication::Callback(Arc::new(|nonce| {
            Box::pin(async move {
                let mut auth = Auth::new();
                auth.username = Some(String::from_utf8(nonce).unwrap());
                auth.signature = Some(vec![0xfb, 0xff]);
                Ok(auth)
            })
        }));
        let line = said(&held, Some("abc")).await;
        assert_eq!(field(&line, "user").unwrap(), "abc");
        assert_eq!(field(&line, "sig").unwrap(), "-_8");
        let failing = Authentication::Callback(Arc::new(|_| {
            Box::pin(async { Err(async_nats::AuthError::new("no vault")) })
        }));
        let error = complete(&bare(), &failing, None).await.unwrap_err();
        assert!(error.to_string().contains("no vault"), "{error}");
    }

    #[tokio::test]
    async fn what_is_unusable_is_said_without_repeating_it() {
        for held in [
            Authentication::NkeySeed(Secret::new("SUs3cret")),
            Authentication::Credentials(Secret::new("s3cret")),
            Authentication::Credentials(Secret::new(
                "-----BEGIN JWT-----\n------END JWT------\n-----BEGIN SEED-----\ns3cret\n",
            )),
            Authentication::Credentials(Secret::new(
                "---BEGIN JWT---\njwt\n---END JWT---\n---BEGIN SEED---\ns3cret\n",
            )),
        ] {
            let error = complete(&bare(), &held, Some("abc")).await.unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("s3cret"),
                "{error:?}"
            );
        }
    }
}
