//! Why promise 1 is not free: the pattern that looks right, a resolver with the certificate
//! behind an atomic swap, silently keeps the old identity.
//!
//! With default resumption the reconnect resumes the session of the old certificate, and the
//! server keeps showing that. With resumption disabled the same code is seen at once, which shows
//! that resumption is the cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use arc_swap::ArcSwap;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::{self, TlsVersion};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;

const NAME: &str = "naive";

#[tokio::test]
async fn with_default_resumption_the_server_keeps_seeing_the_old_certificate() -> Result<()> {
    for version in TlsVersion::ALL {
        let seen = rotate(version, Resumption::default()).await?;
        assert_eq!(seen.fingerprint, seen.old, "{version:?}");
        assert_ne!(seen.fingerprint, seen.new, "{version:?}");
        assert_eq!(
            seen.resolved, 1,
            "{version:?}: asked again for a certificate"
        );
    }
    Ok(())
}

#[tokio::test]
async fn without_resumption_the_server_sees_the_new_certificate() -> Result<()> {
    for version in TlsVersion::ALL {
        let seen = rotate(version, Resumption::disabled()).await?;
        assert_eq!(seen.fingerprint, seen.new, "{version:?}");
        assert_eq!(seen.resolved, 2, "{version:?}");
    }
    Ok(())
}

/// What the server shows after one rotation.
struct Seen {
    fingerprint: String,
    old: String,
    new: String,
    resolved: usize,
}

async fn rotate(version: TlsVersion, resumption: Resumption) -> Result<Seen> {
    let authority = Authority::new("root");
    let old = authority.issue(&LeafSpec::client("orders"));
    let new = authority.renew(&old);
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;

    let resolver = Arc::new(SwappedCertificate::new(&old)?);
    let mut config = ClientConfig::builder_with_provider(version.provider())
        .with_protocol_versions(&[version.rustls()])?
        .with_root_certificates(tls::roots(&authority.root_pem())?)
        .with_client_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesClientCert>);
    config.resumption = resumption;
    let client = async_nats::ConnectOptions::new()
        .name(NAME)
        .require_tls(true)
        .tls_client_config(config)
        .connect(server.url())
        .await?;
    let first = server.sees(NAME, old.fingerprint(), PATIENCE).await?;
    assert_eq!(first.tls_version, version.as_str());
    // The connect included a PONG, and the session tickets of TLS 1.3 come before that.

    resolver.swap(&new)?;
    client.force_reconnect().await?;
    let second = eventually(PATIENCE, "the client is back", || async {
        let newest = server.connection(NAME).await?;
        Ok(newest.filter(|connection| connection.cid > first.cid))
    })
    .await?;
    Ok(Seen {
        fingerprint: second.fingerprint().unwrap_or_default().to_owned(),
        old: old.fingerprint().to_owned(),
        new: new.fingerprint().to_owned(),
        resolved: resolver.asked.load(Ordering::SeqCst),
    })
}

/// The naive resolver, and a count of how often a handshake asked it.
#[derive(Debug)]
struct SwappedCertificate {
    current: ArcSwap<CertifiedKey>,
    asked: AtomicUsize,
}

impl SwappedCertificate {
    fn new(identity: &Identity) -> Result<Self> {
        Ok(Self {
            current: ArcSwap::from_pointee(tls::certified_key(identity)?),
            asked: AtomicUsize::new(0),
        })
    }

    fn swap(&self, identity: &Identity) -> Result<()> {
        self.current.store(Arc::new(tls::certified_key(identity)?));
        Ok(())
    }
}

impl ResolvesClientCert for SwappedCertificate {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
