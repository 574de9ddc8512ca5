//! What a certificate says, in plain values that outlive its bytes. Owns reading the facts; must
//! not judge them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::distinguished_name::{DistinguishedName, hex};

/// A SHA-256 digest. Displayed in lower-case hexadecimal without separators, as nats-server does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest of `bytes`, for example of a certificate's DER.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a set of certificates says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The own chain as it is sent, leaf first; never empty.
    pub chain: Vec<CertificateFacts>,
    /// The CA roots, in the order of the file.
    pub roots: Vec<CertificateFacts>,
    /// The first of `chain` again, so that asking for it cannot fail.
    leaf: CertificateFacts,
}

impl Facts {
    pub(super) fn new(
        leaf: CertificateFacts,
        rest: impl IntoIterator<Item = CertificateFacts>,
        roots: Vec<CertificateFacts>,
    ) -> Self {
        Self {
            chain: std::iter::once(leaf.clone()).chain(rest).collect(),
            roots,
            leaf,
        }
    }

    /// The certificate that names this client.
    #[must_use]
    pub fn leaf(&self) -> &CertificateFacts {
        &self.leaf
    }
}

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// The subject as nats-server prints it (`tls_peer_certs[].subject` of `/connz?auth=1`).
    pub subject: String,
    /// The issuer in the same form.
    pub issuer: String,
    /// Subject alternative names: `DNS:…`, `email:…`, `URI:…`, `IP:…`, others by their type.
    pub sans: Vec<String>,
    /// The serial number in lower-case hexadecimal, whole bytes, without separators.
    pub serial: String,
    /// SHA-256 of the certificate (`cert_sha256` of `/connz?auth=1`).
    pub fingerprint_sha256: Fingerprint,
    /// SHA-256 of the public key (`spki_sha256` of `/connz?auth=1`; what `pinned_certs` pins).
    pub spki_sha256: Fingerprint,
    /// The first second of validity.
    pub not_before: SystemTime,
    /// The last second of validity, inclusive (RFC 5280, section 4.1.2.5).
    pub not_after: SystemTime,
    /// The users `verify_and_map` tries, in its order: email, DNS and URI names, then the subject.
    /// Which one it picks depends on the users the server knows.
    pub nats_users: Vec<String>,
    /// For example `ECDSA P-256`, `RSA 2048`, `Ed25519`; an object identifier if unknown.
    pub key_algorithm: String,
    /// Subject and issuer are the same name: for a CA, usually a root.
    pub is_self_issued: bool,
    /// The basic constraints say that this is a CA.
    pub is_ca: bool,
}

impl CertificateFacts {
    /// What a certificate says that may come from anywhere, for example from a handshake; none if
    /// it is not valid X.509.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self::new(&certificate))
    }

    pub(super) fn new(certificate: &X509Certificate<'_>) -> Self {
        let subject = DistinguishedName::new(certificate.subject());
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map_or(&[][..], |extension| &extension.value.general_names);
        let mut nats_users = mapped_names(names);
        nats_users.extend(subject.nats_users());
        Self {
            subject: subject.to_go_string(),
            issuer: DistinguishedName::new(certificate.issuer()).to_go_string(),
            sans: names.iter().map(describe_name).collect(),
            serial: serial(certificate.raw_serial()),
            fingerprint_sha256: Fingerprint::of(certificate.as_raw()),
            spki_sha256: Fingerprint::of(certificate.public_key().raw),
            not_before: system_time(certificate.validity().not_before),
            not_after: system_time(certificate.validity().not_after),
            nats_users,
            key_algorithm: key_algorithm(certificate.public_key()),
            is_self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            is_ca: certificate.is_ca(),
        }
    }
}

/// The order of nats-server's `checkClientTLSCertSubject`.
fn mapped_names(names: &[GeneralName<'_>]) -> Vec<String> {
    let emails = names.iter().filter_map(|name| match name {
        GeneralName::RFC822Name(email) => Some(*email),
        _ => None,
    });
    let hosts = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(host) => Some(*host),
        _ => None,
    });
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let names = emails.chain(hosts).chain(uris);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn describe_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(host) => format!("DNS:{host}"),
        GeneralName::RFC822Name(email) => format!("email:{email}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::IPAddress(bytes) => {
            if let Ok(octets) = <[u8; 4]>::try_from(*bytes) {
                format!("IP:{}", Ipv4Addr::from(octets))
            } else if let Ok(octets) = <[u8; 16]>::try_from(*bytes) {
                format!("IP:{}", Ipv6Addr::from(octets))
            } else {
                format!("IP:#{}", hex(bytes))
            }
        }
        GeneralName::DirectoryName(name) => {
            format!("DirName:{}", DistinguishedName::new(name).to_go_string())
        }
        GeneralName::OtherName(oid, _) => format!("othername:{}", oid.to_id_string()),
        GeneralName::RegisteredID(oid) => format!("RID:{}", oid.to_id_string()),
        GeneralName::X400Address(_) => "X400Name".to_owned(),
        GeneralName::EDIPartyName(_) => "EdiPartyName".to_owned(),
        GeneralName::Invalid(..) => "invalid".to_owned(),
    }
}

/// Without the zero byte that only keeps a DER integer positive.
fn serial(raw: &[u8]) -> String {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        other => hex(other),
    }
}

/// Dates before 1970 are possible; dates outside `SystemTime` become the nearest that is not.
pub(super) fn system_time(time: ASN1Time) -> SystemTime {
    let distance = Duration::from_secs(time.timestamp().unsigned_abs());
    let moved = if time.timestamp() < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn key_algorithm(key: &SubjectPublicKeyInfo<'_>) -> String {
    if let Some(bits) = rsa_bits(key) {
        return format!("RSA {bits}");
    }
    let curve = key
        .algorithm
        .parameters()
        .and_then(|parameters| parameters.as_oid().ok())
        .map(|oid| oid.to_id_string());
    match (
        key.algorithm.algorithm.to_id_string().as_str(),
        curve.as_deref(),
    ) {
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => "ECDSA P-256".to_owned(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "ECDSA P-384".to_owned(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => "ECDSA P-521".to_owned(),
        ("1.2.840.10045.2.1", Some(curve)) => format!("ECDSA {curve}"),
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        ("1.3.101.113", _) => "Ed448".to_owned(),
        (other, _) => other.to_owned(),
    }
}

/// The exact length of an RSA modulus in bits; none for other keys.
pub(super) fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<usize> {
    let Ok(PublicKey::RSA(rsa)) = key.parsed() else {
        return None;
    };
    let zeros = rsa.modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = rsa.modulus.get(zeros..).unwrap_or_default();
    let leading = significant
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    Some((significant.len() * 8).saturating_sub(leading))
}
