//! rustls pieces for tests that speak TLS themselves.
//!
//! nats-server can raise its lowest TLS version but has no highest one, so TLS 1.2 is always the
//! client's choice: hand it [`TlsVersion::provider`], which knows no suite of any other version.

use std::sync::Arc;

use anyhow::Result;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::pki::Identity;

/// The versions that the promises are shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// Both, for table tests.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As nats-server prints and reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    /// As rustls names it.
    #[must_use]
    pub fn rustls(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }

    /// A provider that can speak this version only, whatever versions a config allows.
    #[must_use]
    pub fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| suite.version() == self.rustls());
        Arc::new(provider)
    }

    /// A config that presents `identity` for ever and trusts `roots_pem`, without resumption.
    ///
    /// # Errors
    /// When the PEM does not parse.
    pub fn fixed_config(self, identity: &Identity, roots_pem: &str) -> Result<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[self.rustls()])?
            .with_root_certificates(roots(roots_pem)?)
            .with_client_auth_cert(chain(identity)?, key(identity)?)?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

/// The trust anchors in a PEM text.
///
/// # Errors
/// When it does not parse.
pub fn roots(pem: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store.add(certificate?)?;
    }
    Ok(store)
}

/// The identity in the form that a rustls resolver returns.
///
/// # Errors
/// When its PEM does not parse or the key does not belong to the certificate.
pub fn certified_key(identity: &Identity) -> Result<CertifiedKey> {
    let provider = aws_lc_rs::default_provider();
    Ok(CertifiedKey::from_der(
        chain(identity)?,
        key(identity)?,
        &provider,
    )?)
}

fn chain(identity: &Identity) -> Result<Vec<CertificateDer<'static>>> {
    Ok(
        CertificateDer::pem_slice_iter(identity.chain_pem().as_bytes())
            .collect::<Result<_, _>>()?,
    )
}

fn key(identity: &Identity) -> Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_slice(
        identity.key_pem().as_bytes(),
    )?)
}
