//! Which certificate a nats-server presents, found out by a TLS handshake with it. Nothing is sent
//! over the connection, and it is not trusted for anything: the only question is which certificate
//! it proves to have.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nats_mtls::Snapshot;
use nats_mtls::material::Fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::verdict::Answer;
use crate::config::Address;

#[cfg(test)]
mod tests;

/// INFO of a large cluster lists hundreds of addresses.
const INFO_BYTES: u64 = 64 * 1024;
/// A server that is silent for so long waits for TLS to start (`handshake_first`). It sends INFO
/// at once else, or after 50 ms if it does both.
const SILENCE: Duration = Duration::from_secs(1);

/// Whether the server at `address` presents the leaf of `snapshot`.
pub(super) async fn server(address: &Address, snapshot: &Snapshot) -> Answer {
    match presented(address, snapshot).await {
        Ok(Presented::Expected) => Answer::Seen,
        Ok(Presented::Other(seen)) => Answer::NotSeen(format!("{address} presents {seen}")),
        Err(error) => Answer::NotSeen(format!("{address}: {error}")),
    }
}

enum Presented {
    Expected,
    Other(Fingerprint),
}

async fn presented(address: &Address, snapshot: &Snapshot) -> io::Result<Presented> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    skip_info(&mut stream).await?;
    // The name is for SNI alone.
    let name = ServerName::try_from(address.host.clone());
    let name = name.unwrap_or(ServerName::IpAddress(stream.peer_addr()?.ip().into()));
    let pin = Arc::new(Pin::new(snapshot));
    let shaken = TlsConnector::from(Arc::new(pin.config()?))
        .connect(name, stream)
        .await;
    let seen = *pin.seen.lock().unwrap_or_else(PoisonError::into_inner);
    match (seen, shaken) {
        // It may refuse us in the end, because we present nothing: it has shown what it has.
        (Some(Seen::Proven), _) => Ok(Presented::Expected),
        (Some(Seen::Other(seen)), _) => Ok(Presented::Other(seen)),
        (_, Err(error)) => Err(error),
        (_, Ok(_)) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Up to the end of the line and not a byte further: what follows is TLS.
async fn skip_info(stream: &mut TcpStream) -> io::Result<()> {
    let Ok(first) = timeout(SILENCE, stream.read_u8()).await else {
        return Ok(());
    };
    let mut byte = first?;
    let mut read: u64 = 1;
    let mut line = vec![byte];
    while byte != b'\n' {
        byte = stream.read_u8().await?;
        read += 1;
        if read > INFO_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "INFO has no end",
            ));
        }
        if line.len() < 5 {
            line.push(byte);
        }
    }
    if line.as_slice() != b"INFO " {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no nats-server",
        ));
    }
    Ok(())
}

/// What the server showed.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// The expected leaf, not yet with its key.
    Expected,
    /// The expected leaf, and it signed with its key.
    Proven,
    Other(Fingerprint),
}

/// Accepts one leaf and no other. Chain, name and dates do not matter: they were validated when the
/// set was published.
#[derive(Debug)]
struct Pin {
    expected: Fingerprint,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Seen>>,
}

impl Pin {
    fn new(snapshot: &Snapshot) -> Self {
        Self {
            expected: snapshot.material().facts().leaf().fingerprint_sha256,
            provider: Arc::clone(snapshot.client_config().crypto_provider()),
            seen: Mutex::new(None),
        }
    }

    /// Fresh for each handshake, so there is no session to resume. Presents nothing.
    fn config(self: &Arc<Self>) -> io::Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let pin: Arc<dyn ServerCertVerifier> = Arc::<Self>::clone(self);
        Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(pin)
            .with_no_client_auth())
    }

    fn note(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = Fingerprint::of(end_entity);
        if seen == self.expected {
            self.note(Seen::Expected);
            Ok(ServerCertVerified::assertion())
        } else {
            self.note(Seen::Other(seen));
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls12_signature(message, cert, dss, algorithms)?;
        self.note(Seen::Proven);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = verify_tls13_signature(message, cert, dss, algorithms)?;
        self.note(Seen::Proven);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
