//! What a leaf certificate should say.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::crypto::aws_lc_rs::default_provider;
use time::Duration;

use super::{Identity, ia5, set_validity};

/// A leaf to be issued; the defaults are valid from an hour ago for thirty days.
#[derive(Debug, Clone)]
#[must_use]
pub struct LeafSpec {
    common_name: String,
    organization: Option<String>,
    names: Vec<SanType>,
    from: Duration,
    until: Duration,
    usages: Vec<ExtendedKeyUsagePurpose>,
    algorithm: &'static SignatureAlgorithm,
    key: Option<Arc<KeyPair>>,
}

impl LeafSpec {
    /// A client certificate without alternative names.
    pub fn client(common_name: &str) -> Self {
        Self {
            common_name: common_name.to_owned(),
            organization: None,
            names: Vec::new(),
            from: Duration::hours(-1),
            until: Duration::days(30),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            key: None,
        }
    }

    /// A server certificate for `localhost`, `127.0.0.1` and `::1`.
    pub fn server() -> Self {
        Self::client("nats-server")
            .usages([
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ])
            .dns("localhost")
            .ip([127, 0, 0, 1])
            .ip(std::net::Ipv6Addr::LOCALHOST)
    }

    /// Adds the organization to the subject.
    pub fn organization(mut self, organization: &str) -> Self {
        self.organization = Some(organization.to_owned());
        self
    }

    /// Adds an email name: the first that `verify_and_map` looks at.
    pub fn email(mut self, name: &str) -> Self {
        self.names.push(SanType::Rfc822Name(ia5(name)));
        self
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: &str) -> Self {
        self.names.push(SanType::DnsName(ia5(name)));
        self
    }

    /// Adds a URI, for example a SPIFFE id.
    pub fn uri(mut self, name: &str) -> Self {
        self.names.push(SanType::URI(ia5(name)));
        self
    }

    /// Adds an address.
    pub fn ip(mut self, address: impl Into<IpAddr>) -> Self {
        self.names.push(SanType::IpAddress(address.into()));
        self
    }

    /// Removes all alternative names.
    pub fn no_names(mut self) -> Self {
        self.names.clear();
        self
    }

    /// Sets the validity, as offsets from the moment of issue.
    pub fn valid(mut self, from: Duration, until: Duration) -> Self {
        self.from = from;
        self.until = until;
        self
    }

    /// Expired an hour ago.
    pub fn expired(self) -> Self {
        self.valid(Duration::days(-30), Duration::hours(-1))
    }

    /// Valid in an hour.
    pub fn not_yet_valid(self) -> Self {
        self.valid(Duration::hours(1), Duration::days(30))
    }

    /// Sets the extended key usages; none leaves the extension out.
    pub fn usages(mut self, usages: impl IntoIterator<Item = ExtendedKeyUsagePurpose>) -> Self {
        self.usages = usages.into_iter().collect();
        self
    }

    /// Sets the kind of key; `PKCS_RSA_SHA256` gives 2048 bits.
    pub fn algorithm(mut self, algorithm: &'static SignatureAlgorithm) -> Self {
        self.algorithm = algorithm;
        self.new_key()
    }

    /// Uses the key of `other` again.
    pub fn key_of(mut self, other: &Identity) -> Self {
        self.key = Some(other.key());
        self
    }

    /// Makes a new key at each issue, which is also the default.
    pub fn new_key(mut self) -> Self {
        self.key = None;
        self
    }

    pub(super) fn parameters(&self) -> (CertificateParams, Arc<KeyPair>) {
        let mut parameters = CertificateParams::default();
        set_validity(&mut parameters, self.from, self.until);
        parameters.serial_number = Some(SerialNumber::from_slice(&random_serial()));
        parameters.subject_alt_names.clone_from(&self.names);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages.clone_from(&self.usages);
        parameters.use_authority_key_identifier_extension = true;
        parameters.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            parameters
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        parameters
            .distinguished_name
            .push(DnType::CommonName, &self.common_name);
        let key = self.key.clone().unwrap_or_else(|| {
            Arc::new(KeyPair::generate_for(self.algorithm).expect("rcgen makes a key"))
        });
        (parameters, key)
    }
}

fn random_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    default_provider()
        .secure_random
        .fill(&mut serial)
        .expect("the system has randomness");
    // A positive number without a leading zero byte, so that it is the same in every notation.
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}
