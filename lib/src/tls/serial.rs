//! A configuration that follows the store, for clients that take one `rustls::ClientConfig` for
//! life and make one handshake at a time, such as async-nats.
//!
//! rustls asks verifier and resolver several times during a handshake and passes neither of them
//! an identity of the connection. So the snapshot is pinned when the ClientHello is made (that is
//! when rustls asks for the signature schemes), and everything else of that handshake uses the
//! pin: certificate, key and roots of different generations never meet. Two handshakes at once
//! through one such configuration would share the pin; hence *serial*.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::crypto;
use crate::store::{Generation, Snapshot, Store};
use crate::tls::TlsVersions;
use crate::tls::names::{Presented, ServerNames};

/// A following configuration and what is known of its last handshake.
#[derive(Clone)]
pub struct SerialConfig {
    config: ClientConfig,
    follower: Arc<Follower>,
}

/// What the last handshake did, as far as it came.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Handshake {
    /// The generation that was pinned: its roots judged the server.
    pub generation: Generation,
    /// Whether the server asked for a certificate, so that this generation's was presented.
    pub presented: bool,
    /// Why the server's certificate was not accepted, if it was not.
    pub server_rejected: Option<Error>,
}

/// What the last handshake showed each side, for whoever reports it.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) presented: bool,
    /// The server's own certificate, once it was accepted.
    pub(crate) server: Option<Arc<CertificateDer<'static>>>,
}

impl SerialConfig {
    pub(crate) fn new(
        store: Arc<Store>,
        names: ServerNames,
        versions: TlsVersions,
    ) -> Result<Self, Error> {
        let follower = Arc::new(Follower {
            provider: crypto::provider(),
            store,
            names,
            pin: Mutex::new(None),
        });
        let mut config = ClientConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(versions.rustls())?
            .dangerous() // webpki of the pinned snapshot; nothing is skipped
            .with_custom_certificate_verifier(Arc::clone(&follower) as _)
            .with_client_cert_resolver(Arc::clone(&follower) as _);
        config.resumption = Resumption::disabled();
        Ok(Self { config, follower })
    }

    /// The rustls configuration to hand to the client. One client only.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// The last handshake; none before the first ClientHello.
    #[must_use]
    pub fn last_handshake(&self) -> Option<Handshake> {
        self.follower.pin().as_ref().map(|pin| Handshake {
            generation: pin.snapshot.generation(),
            presented: pin.presented,
            server_rejected: pin.server_rejected.clone(),
        })
    }

    /// What the next handshake would be made with.
    pub(crate) fn published(&self) -> Option<Generation> {
        let active = self.follower.store.active();
        active.map(|snapshot| snapshot.generation())
    }

    pub(crate) fn wire(&self) -> Option<Wire> {
        self.follower.pin().as_ref().map(|pin| Wire {
            snapshot: Arc::clone(&pin.snapshot),
            presented: pin.presented,
            server: pin.server.clone(),
        })
    }
}

struct Pin {
    snapshot: Arc<Snapshot>,
    presented: bool,
    server: Option<Arc<CertificateDer<'static>>>,
    server_rejected: Option<Error>,
}

struct Follower {
    provider: Arc<rustls::crypto::CryptoProvider>,
    store: Arc<Store>,
    names: ServerNames,
    pin: Mutex<Option<Pin>>,
}

impl Follower {
    fn pin(&self) -> MutexGuard<'_, Option<Pin>> {
        self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Follower {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = Presented {
            end_entity,
            intermediates,
            ocsp_response,
            now,
        };
        let mut pin = self.pin();
        let Some(pin) = pin.as_mut() else {
            return Err(Error::General("no material is published yet".into()));
        };
        let verdict = self.names.verify(
            pin.snapshot.material().server_verifier(),
            &presented,
            server_name,
        );
        pin.server_rejected = verdict.as_ref().err().cloned();
        pin.server = verdict
            .is_ok()
            .then(|| Arc::new(end_entity.clone().into_owned()));
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    /// The beginning of a handshake: pins the active snapshot.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        *self.pin() = self.store.active().map(|snapshot| Pin {
            snapshot,
            presented: false,
            server: None,
            server_rejected: None,
        });
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ResolvesClientCert for Follower {
    fn resolve(
        &self,
        _acceptable_issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let mut pin = self.pin();
        let pin = pin.as_mut()?;
        pin.presented = true;
        Some(Arc::clone(pin.snapshot.material().identity()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
