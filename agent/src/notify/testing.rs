//! A published set for the tests of the hooks, made by the library itself, and a TLS server with it.

use std::fs;
use std::sync::Arc;

use nats_mtls::{CertificateManager, Files};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::news::{News, Paths, Tell};

/// Generation 1 of a new set, for a client and a server called `localhost`.
pub(crate) async fn news() -> (News, TempDir) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.not_after = rcgen::date_time_ymd(3000, 1, 1);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("tls.crt"), leaf.pem()).unwrap();
    fs::write(path("tls.key"), key.serialize_pem()).unwrap();
    fs::write(path("ca.crt"), authority.pem()).unwrap();
    let paths = Paths {
        certificate: path("tls.crt"),
        key: path("tls.key"),
        roots: path("ca.crt"),
    };
    let files = Files::new(&paths.certificate, &paths.key, &paths.roots);
    let manager = CertificateManager::builder()
        .files(files)
        .build()
        .await
        .unwrap();
    let news = News {
        snapshot: manager.snapshot(),
        paths,
        tell: Tell::Now,
    };
    (news, folder)
}

/// Presents the certificate of `certificate` as `localhost`, and signs with the key of `key`.
pub(crate) fn acceptor(certificate: &News, key: &News) -> TlsAcceptor {
    let config = certificate.snapshot.client_config();
    let provider = config.crypto_provider();
    let chain = CertificateDer::from_pem_file(&certificate.paths.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&key.paths.key).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let mut resolver = ResolvesServerCertUsingSni::new();
    resolver
        .add("localhost", CertifiedKey::new(vec![chain], key))
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    TlsAcceptor::from(Arc::new(config))
}
