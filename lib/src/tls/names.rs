//! Which names the server's certificate may carry: the configured ones, not the dialled one.
//!
//! NATS clients dial hosts that arrive in INFO's `connect_urls`, in plain text, before TLS. A
//! client that checked the name it dialled would trust whoever wrote that INFO (RUSTSEC-2023-0027).

use std::sync::Arc;

use rustls::DigitallySignedStruct;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};

/// The names a server may prove to have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerNames {
    /// The host that is dialled. Only for clients that dial configured hosts alone.
    Dialled,
    /// One of these, whichever host is dialled. SNI stays the dialled host.
    Configured(Vec<ServerName<'static>>),
}

impl ServerNames {
    /// Names as they stand in a configuration: DNS names or IP addresses.
    ///
    /// # Errors
    /// When a name is neither.
    pub fn configured<I, S>(names: I) -> Result<Self, InvalidDnsNameError>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        names
            .into_iter()
            .map(|name| ServerName::try_from(name.into()))
            .collect::<Result<_, _>>()
            .map(Self::Configured)
    }

    /// Checks the server's certificate against each allowed name; the first that fits is enough.
    pub(crate) fn verify(
        &self,
        verifier: &WebPkiServerVerifier,
        presented: &Presented<'_>,
        dialled: &ServerName<'_>,
    ) -> Result<ServerCertVerified, Error> {
        let names = match self {
            Self::Dialled => return presented.verify(verifier, dialled),
            Self::Configured(names) => names,
        };
        let mut verdict = Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in names {
            verdict = presented.verify(verifier, name);
            // Any other error says that the chain is bad: no other name can mend that.
            if !matches!(&verdict, Err(error) if is_name_mismatch(error)) {
                break;
            }
        }
        verdict
    }
}

fn is_name_mismatch(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// What the server showed in one handshake.
pub(crate) struct Presented<'a> {
    pub(crate) end_entity: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) ocsp_response: &'a [u8],
    pub(crate) now: UnixTime,
}

impl Presented<'_> {
    fn verify(
        &self,
        verifier: &WebPkiServerVerifier,
        name: &ServerName<'_>,
    ) -> Result<ServerCertVerified, Error> {
        verifier.verify_server_cert(
            self.end_entity,
            self.intermediates,
            name,
            self.ocsp_response,
            self.now,
        )
    }
}

/// webpki with the allowed names held fast; for configurations of one snapshot.
#[derive(Debug)]
pub(crate) struct NamedVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    names: ServerNames,
}

impl NamedVerifier {
    pub(crate) fn new(verifier: Arc<WebPkiServerVerifier>, names: ServerNames) -> Self {
        Self { verifier, names }
    }
}

impl ServerCertVerifier for NamedVerifier {
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
        self.names.verify(&self.verifier, &presented, server_name)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
