//! Finds the one private key of a set. Owns what counts as one usable key; must never let key
//! bytes out of this file other than into the crypto provider, and never into an error.

use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::pem::{Block, Blocks, KeyEncoding, Label};
use super::reason::{Reason, Rejection};
use crate::source::{PartKind, RawKey, RawMaterial, RawPart};

/// Bounds the work for a file that is full of keys.
const MAXIMUM_KEYS: usize = 8;

/// The private key of the set, loaded.
///
/// The same key may be there more than once, in one file or in both; two different keys are
/// ambiguous and refused.
pub(super) fn find(
    raw: &RawMaterial,
    certificate_blocks: &[Block<'_>],
) -> Result<Arc<dyn SigningKey>, Rejection> {
    let beside = Keys::load(&raw.certificate, PartKind::Certificate, certificate_blocks)?;
    match &raw.key {
        RawKey::InCertificate => beside.only(&raw.certificate, PartKind::Certificate),
        RawKey::Pem(part) => {
            let blocks = Blocks::new(&part.bytes).collect::<Result<Vec<_>, _>>();
            let blocks = blocks.map_err(|malformed| {
                let detail = format!("{}: {malformed}", part.origin);
                Rejection::of(PartKind::Key, Reason::BadPem, detail)
            })?;
            let key = Keys::load(part, PartKind::Key, &blocks)?.only(part, PartKind::Key)?;
            beside.agree_with(&key, raw)?;
            Ok(key)
        }
        RawKey::Signer(key) => {
            beside.agree_with(key, raw)?;
            Ok(Arc::clone(key))
        }
    }
}

/// Where the private key came from, for messages.
pub(super) fn origin(raw: &RawMaterial) -> &str {
    match &raw.key {
        RawKey::Pem(part) => &part.origin,
        RawKey::InCertificate => &raw.certificate.origin,
        RawKey::Signer(_) => "the signer",
    }
}

/// The name of the algorithm a key signs with, for messages.
pub(super) fn algorithm(key: &dyn SigningKey) -> &'static str {
    match key.algorithm() {
        SignatureAlgorithm::RSA => "RSA",
        SignatureAlgorithm::ECDSA => "ECDSA",
        SignatureAlgorithm::ED25519 => "Ed25519",
        SignatureAlgorithm::ED448 => "Ed448",
        _ => "of another algorithm",
    }
}

/// The different keys of one part.
struct Keys(Vec<Arc<dyn SigningKey>>);

impl Keys {
    fn load(part: &RawPart, kind: PartKind, blocks: &[Block<'_>]) -> Result<Self, Rejection> {
        let refuse = |reason, detail: String| {
            Err(Rejection::of(
                kind,
                reason,
                format!("{}: {detail}", part.origin),
            ))
        };
        let mut seen: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut keys: Vec<Arc<dyn SigningKey>> = Vec::new();
        for block in blocks {
            let encoding = match block.label {
                Label::PrivateKey(encoding) => encoding,
                Label::UnusableKey(what) => {
                    let detail = format!("the private key on line {} is {what}", block.line);
                    return refuse(Reason::UnsupportedKey, detail);
                }
                _ => continue,
            };
            let Some(der) = block.decode_secret() else {
                let detail = format!("the private key on line {} is not valid base64", block.line);
                return refuse(Reason::BadPem, detail);
            };
            if seen.contains(&der) {
                continue;
            }
            if seen.len() >= MAXIMUM_KEYS {
                let detail = format!("more than {MAXIMUM_KEYS} private keys");
                return refuse(Reason::UnsupportedKey, detail);
            }
            let provider = crate::crypto::provider();
            let Ok(key) = provider.key_provider.load_private_key(wrap(encoding, &der)) else {
                let detail = format!(
                    "the private key on line {} is damaged or of a kind that is not supported",
                    block.line
                );
                return refuse(Reason::UnsupportedKey, detail);
            };
            seen.push(der);
            if !keys.iter().any(|other| same(&**other, &*key)) {
                keys.push(key);
            }
        }
        Ok(Self(keys))
    }

    fn only(self, part: &RawPart, kind: PartKind) -> Result<Arc<dyn SigningKey>, Rejection> {
        let count = self.0.len();
        let mut keys = self.0.into_iter();
        match (keys.next(), count) {
            (Some(key), 1) => Ok(key),
            (None, _) => {
                let detail = format!("{}: no private key in it", part.origin);
                Err(Rejection::of(kind, Reason::NoPrivateKey, detail))
            }
            (Some(_), count) => {
                let detail = format!("{}: {count} different private keys", part.origin);
                Err(Rejection::of(kind, Reason::UnsupportedKey, detail))
            }
        }
    }

    fn agree_with(&self, key: &Arc<dyn SigningKey>, raw: &RawMaterial) -> Result<(), Rejection> {
        // A signer that does not tell its public key cannot be compared with anything.
        if key.public_key().is_none() || self.0.iter().all(|other| same(&**other, &**key)) {
            return Ok(());
        }
        let detail = format!(
            "{}: holds a private key other than the one configured apart from it",
            raw.certificate.origin
        );
        Err(Rejection::of(
            PartKind::Certificate,
            Reason::UnsupportedKey,
            detail,
        ))
    }
}

fn same(one: &dyn SigningKey, other: &dyn SigningKey) -> bool {
    one.public_key().is_some() && one.public_key() == other.public_key()
}

/// A copy that the provider zeroises after loading.
fn wrap(encoding: KeyEncoding, der: &Zeroizing<Vec<u8>>) -> PrivateKeyDer<'static> {
    let der = der.to_vec();
    match encoding {
        KeyEncoding::Pkcs8 => PrivatePkcs8KeyDer::from(der).into(),
        KeyEncoding::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
        KeyEncoding::Sec1 => PrivateSec1KeyDer::from(der).into(),
    }
}
