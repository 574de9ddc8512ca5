//! One certificate of a file: its bytes, what they say, and where it stands. Owns X.509
//! well-formedness; must not know what the certificate is used for.

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::facts::CertificateFacts;

/// A certificate that is valid X.509. Displayed as file and position.
pub(super) struct Certificate<'a> {
    pub(super) x509: X509Certificate<'a>,
    pub(super) facts: CertificateFacts,
    position: Position<'a>,
}

impl<'a> Certificate<'a> {
    /// # Errors
    /// Which field is wrong.
    pub(super) fn parse(
        der: &'a CertificateDer<'_>,
        position: Position<'a>,
    ) -> Result<Self, &'static str> {
        let (rest, x509) = X509Certificate::from_der(der.as_ref())
            .map_err(|_| "it is not a valid X.509 certificate")?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate");
        }
        if x509.signature_algorithm != x509.tbs_certificate.signature {
            return Err("signatureAlgorithm and tbsCertificate.signature differ");
        }
        // These extensions decide about identity and use: absent is fine, unreadable is not.
        if x509.subject_alternative_name().is_err() {
            return Err("the extension subjectAltName is damaged or repeated");
        }
        if x509.key_usage().is_err() {
            return Err("the extension keyUsage is damaged or repeated");
        }
        if x509.extended_key_usage().is_err() {
            return Err("the extension extKeyUsage is damaged or repeated");
        }
        if x509.basic_constraints().is_err() {
            return Err("the extension basicConstraints is repeated");
        }
        let facts = CertificateFacts::new(&x509);
        Ok(Self {
            x509,
            facts,
            position,
        })
    }

    pub(super) fn number(&self) -> usize {
        self.position.number
    }
}

impl fmt::Display for Certificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.position.fmt(f)
    }
}

/// Where something stands: "/etc/tls/ca.crt: root 57 (line 1203)" or "…: certificate 2".
#[derive(Debug, Clone, Copy)]
pub(super) struct Position<'a> {
    pub(super) origin: &'a str,
    pub(super) noun: &'static str,
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) line: usize,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            noun,
            number,
            line,
        } = self;
        write!(f, "{origin}: {noun} {number} (line {line})")
    }
}
