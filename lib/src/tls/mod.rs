//! From material to rustls: one fixed configuration per snapshot, a connector that takes a fresh
//! one per connection, and a following configuration for clients that take one for life.
//!
//! Owns every `rustls::ClientConfig` of the library. Session resumption is disabled in all of
//! them: a resumed session presents no certificate, so the server would keep seeing the old one.

#[cfg(feature = "relay")]
mod asked;
mod connector;
mod names;
mod serial;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::client::{ClientConfig, Resumption};
use rustls::sign::SingleCertAndKey;

pub use connector::Connector;
pub use names::ServerNames;
pub use serial::{Handshake, SerialConfig};

#[cfg(feature = "relay")]
pub(crate) use asked::noting;
pub(crate) use serial::Wire;

use crate::material::Material;
use crate::{crypto, tls::names::NamedVerifier};

/// The TLS versions that are offered. Nothing older than 1.2 exists here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TlsVersions {
    /// TLS 1.3, and 1.2 with servers that do not have it.
    #[default]
    Tls12AndNewer,
    /// TLS 1.3 alone.
    Tls13Only,
    /// TLS 1.2 alone, for middleboxes that break 1.3.
    Tls12Only,
}

static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

impl TlsVersions {
    pub(crate) fn rustls(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12AndNewer => rustls::DEFAULT_VERSIONS,
            Self::Tls13Only => TLS13,
            Self::Tls12Only => TLS12,
        }
    }
}

/// The configuration for one material: no resumption, explicit provider.
pub(crate) fn fixed_config(
    material: &Material,
    versions: TlsVersions,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(versions.rustls())?
        .dangerous() // webpki with our roots and CRLs; nothing is skipped
        .with_custom_certificate_verifier(Arc::clone(material.server_verifier()) as _)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
            material.identity(),
        ))));
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// As `base`, but the server must present one of `names`, whichever host is dialled.
pub(crate) fn with_names(
    base: &ClientConfig,
    material: &Material,
    names: ServerNames,
) -> ClientConfig {
    let mut config = base.clone();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(NamedVerifier::new(
            Arc::clone(material.server_verifier()),
            names,
        )));
    config
}
