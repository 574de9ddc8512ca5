//! Whether a server asked for our certificate: rustls tells nobody but the resolver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustls::SignatureScheme;
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::sign::CertifiedKey;

/// Whether the server of one handshake asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(crate) fn was(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// As `config`, for one handshake, which is then known of.
pub(crate) fn noting(mut config: ClientConfig) -> (ClientConfig, Asked) {
    let asked = Asked::default();
    config.client_auth_cert_resolver = Arc::new(Noting {
        resolver: Arc::clone(&config.client_auth_cert_resolver),
        asked: asked.clone(),
    });
    (config, asked)
}

#[derive(Debug)]
struct Noting {
    resolver: Arc<dyn ResolvesClientCert>,
    asked: Asked,
}

impl ResolvesClientCert for Noting {
    fn resolve(
        &self,
        acceptable_issuers: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.0.store(true, Relaxed);
        self.resolver.resolve(acceptable_issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.resolver.has_certs()
    }
}
