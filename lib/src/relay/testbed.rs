//! What tests of the relay's shells need: published material, and servers that keep to a script.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::material::{Material, Policy};
use crate::source::{RawKey, RawMaterial, RawPart};
use crate::store::{Origin, Snapshot, Store};
use crate::tls::{self, TlsVersions};
use crate::{clock, crypto};

/// The first line of every scripted server.
pub(super) const INFO: &str =
    "INFO {\"server_id\":\"S\",\"max_payload\":1024,\"nonce\":\"abc\"}\r\n";

/// One authority, and a store that publishes its certificates.
pub(super) struct Testbed {
    root: CertifiedIssuer<'static, KeyPair>,
    pub(super) store: Arc<Store>,
}

impl Testbed {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self {
            root: CertifiedIssuer::self_signed(params, key).unwrap(),
            store: Arc::new(Store::new()),
        }
    }

    fn leaf(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        lasts: Duration,
    ) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = OffsetDateTime::from(clock::now() - Duration::from_secs(60));
        params.not_after = OffsetDateTime::from(clock::now() + lasts);
        params.extended_key_usages = vec![usage];
        let leaf = params.signed_by(&key, &self.root).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    /// The next generation, with a certificate that lasts for so long.
    pub(super) fn publish(&self, lasts: Duration) -> Arc<Snapshot> {
        let (certificate, key) = self.leaf("orders", ExtendedKeyUsagePurpose::ClientAuth, lasts);
        let raw = RawMaterial {
            certificate: RawPart::new("tls.crt", certificate),
            key: RawKey::Pem(RawPart::new("tls.key", key)),
            roots: RawPart::new("ca.crt", self.root.pem()),
            crls: None,
            issuer: None,
        };
        let material = Material::parse(&raw, &Policy::default(), clock::now()).unwrap();
        let config = tls::fixed_config(&material, TlsVersions::default()).unwrap();
        let origin = Origin::Change { seen: None };
        self.store.publish(Arc::new(material), config, origin)
    }

    /// A TLS server for `name` that accepts clients of `authority` alone.
    pub(super) fn acceptor(&self, name: &str, authority: &Self) -> TlsAcceptor {
        let day = Duration::from_secs(86_400);
        let (certificate, key) = self.leaf(name, ExtendedKeyUsagePurpose::ServerAuth, day);
        let mut roots = RootCertStore::empty();
        roots.add(authority.root.der().clone()).unwrap();
        let provider = crypto::provider();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Serves every connection with `script` until the runtime ends; returns the port.
pub(super) async fn serve<F>(script: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    port
}

/// INFO in plain text, then TLS; none if the client does not get through.
pub(super) async fn greet(
    stream: TcpStream,
    acceptor: TlsAcceptor,
) -> Option<TlsStream<TcpStream>> {
    greet_with(INFO, stream, acceptor).await
}

/// As [`greet`], with this INFO.
pub(super) async fn greet_with(
    info: &str,
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
) -> Option<TlsStream<TcpStream>> {
    stream.write_all(info.as_bytes()).await.ok()?;
    acceptor.accept(stream).await.ok()
}
