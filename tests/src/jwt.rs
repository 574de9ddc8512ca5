//! Decentralised authentication: an operator, one account and its users, with as little in their JWTs
//! as nats-server asks for, and no server that hands them out.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account.
pub struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

/// A user of the account.
pub struct User {
    /// As `/connz` shows it.
    pub public_key: String,
    /// What the account says about it.
    pub jwt: String,
    seed: String,
}

impl Operator {
    /// With keys of its own.
    #[must_use]
    pub fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
        }
    }

    /// The lines of a server's configuration that make it trust this operator and know its account.
    ///
    /// # Errors
    /// When a key cannot sign.
    pub fn lines(&self) -> Result<String> {
        let (operator, account) = (&self.operator, &self.account);
        let of_operator = json!({ "type": "operator", "version": 2 });
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1,
            "leaf": -1, "wildcards": true,
        });
        let of_account = json!({ "limits": unlimited, "type": "account", "version": 2 });
        Ok(format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{\n    {}: {}\n}}",
            issue(operator, operator, of_operator)?,
            account.public_key(),
            issue(operator, account, of_account)?
        ))
    }

    /// A user that signs the server's nonce.
    ///
    /// # Errors
    /// When a key cannot sign.
    pub fn user(&self) -> Result<User> {
        self.issue_user(false)
    }

    /// A user whose JWT alone is enough.
    ///
    /// # Errors
    /// When a key cannot sign.
    pub fn bearer(&self) -> Result<User> {
        self.issue_user(true)
    }

    fn issue_user(&self, is_bearer: bool) -> Result<User> {
        let user = KeyPair::new_user();
        let rights = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
            "bearer_token": is_bearer, "type": "user", "version": 2,
        });
        Ok(User {
            public_key: user.public_key(),
            jwt: issue(&self.account, &user, rights)?,
            seed: user.seed()?,
        })
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self::new()
    }
}

impl User {
    /// The text of a credentials file, as `nsc` writes it.
    #[must_use]
    pub fn credentials(&self) -> String {
        let Self { jwt, seed, .. } = self;
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// What `issuer` says about `subject`.
fn issue(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> Result<String> {
    let issued = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let subject = subject.public_key();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "jti": subject, "iat": issued, "iss": issuer.public_key(), "name": subject, "sub": subject,
        "nats": claims,
    });
    let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let said = format!("{}.{}", encode(&header), encode(&claims));
    let signature = Base64UrlUnpadded::encode_string(&issuer.sign(said.as_bytes())?);
    Ok(format!("{said}.{signature}"))
}
