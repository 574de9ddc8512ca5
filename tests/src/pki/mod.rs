//! Certificate authorities and leaves, made in this process with ECDSA P-256 keys.
//!
//! Times are offsets from now, so that "expired an hour ago" stays true. Nothing here checks
//! whether a certificate makes sense: the odd ones are what tests are for.

mod identity;
mod leaf;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};

pub use identity::{CANARY, Identity};
pub use leaf::LeafSpec;
pub use rcgen::ExtendedKeyUsagePurpose as Usage;

/// A certificate authority: a root, or an intermediate below one.
pub struct Authority {
    parameters: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
    /// This intermediate and those above it, without the root; empty for a root.
    intermediates: Vec<Certificate>,
    root_pem: String,
}

impl Authority {
    /// A root that is valid for ten years. Two of the same name are different authorities.
    ///
    /// # Panics
    /// When rcgen cannot make it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::root_valid(name, Duration::days(-1), Duration::days(3650))
    }

    /// A root with a validity of its own, as offsets from now.
    ///
    /// # Panics
    /// When rcgen cannot make it.
    #[must_use]
    pub fn root_valid(name: &str, from: Duration, until: Duration) -> Self {
        let parameters = authority_parameters(name, from, until);
        let key = generate_key();
        let certificate = parameters.self_signed(&key).expect("rcgen signs a root");
        Self {
            root_pem: certificate.pem(),
            parameters,
            key,
            certificate,
            intermediates: Vec::new(),
        }
    }

    /// An intermediate signed by this authority. Its leaves carry the intermediates in their chain.
    ///
    /// # Panics
    /// When rcgen cannot make it.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let parameters = authority_parameters(name, Duration::days(-1), Duration::days(1825));
        let key = generate_key();
        let certificate = parameters
            .signed_by(&key, &self.issuer())
            .expect("rcgen signs an intermediate");
        let mut intermediates = vec![certificate.clone()];
        intermediates.extend(self.intermediates.iter().cloned());
        Self {
            parameters,
            key,
            certificate,
            intermediates,
            root_pem: self.root_pem.clone(),
        }
    }

    /// A certificate and key made to `spec`.
    ///
    /// # Panics
    /// When rcgen cannot make it.
    #[must_use]
    pub fn issue(&self, spec: &LeafSpec) -> Identity {
        let (parameters, key) = spec.parameters();
        let leaf = parameters
            .signed_by(&*key, &self.issuer())
            .expect("rcgen signs a leaf");
        let mut chain_pem = leaf.pem();
        for intermediate in &self.intermediates {
            chain_pem.push_str(&intermediate.pem());
        }
        Identity::new(spec.clone(), &leaf, chain_pem, key, serial_of(&parameters))
    }

    /// The same certificate again with a new serial, a new key and the validity of the spec
    /// counted from now: what a renewal is.
    #[must_use]
    pub fn renew(&self, identity: &Identity) -> Identity {
        self.issue(&identity.spec().clone().new_key())
    }

    /// The certificate of this authority itself, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The root above this authority, PEM: what the other side trusts.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.root_pem.clone()
    }

    /// A revocation list, PEM, issued now and to be renewed after `next_update` (may be negative
    /// down to minus one day: an expired list).
    ///
    /// # Panics
    /// When rcgen cannot make it.
    #[must_use]
    pub fn revocation_list(&self, revoked: &[&Identity], next_update: Duration) -> String {
        let now = OffsetDateTime::now_utc();
        CertificateRevocationListParams {
            this_update: now - Duration::days(2),
            next_update: now + next_update,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|identity| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(identity.serial()),
                    revocation_time: now - Duration::hours(1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer())
        .and_then(|list| list.pem())
        .expect("rcgen signs a revocation list")
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.parameters, &self.key)
    }
}

fn authority_parameters(name: &str, from: Duration, until: Duration) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    set_validity(&mut parameters, from, until);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.use_authority_key_identifier_extension = true;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn set_validity(parameters: &mut CertificateParams, from: Duration, until: Duration) {
    let now = OffsetDateTime::now_utc();
    parameters.not_before = now + from;
    parameters.not_after = now + until;
}

fn generate_key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("rcgen makes a key")
}

fn serial_of(parameters: &CertificateParams) -> Vec<u8> {
    parameters
        .serial_number
        .as_ref()
        .map(SerialNumber::to_bytes)
        .unwrap_or_default()
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("an ASCII name")
}
