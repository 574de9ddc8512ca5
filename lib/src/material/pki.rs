//! A well-formed PKI for tests, made in memory: dates relative to a fixed `now`.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use time::OffsetDateTime;

use super::testdata::now;
use crate::source::{RawKey, RawMaterial, RawPart};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
const SERVER_SERIAL: u64 = 42;

/// One root that issues everything.
pub(super) struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { root }
    }

    /// A set for `host` whose leaf ends at `end`.
    pub(super) fn client(&self, host: &str, key: &KeyPair, end: SystemTime) -> RawMaterial {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = OffsetDateTime::from(now() - 100 * DAY);
        params.not_after = OffsetDateTime::from(end);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(key, &self.root).unwrap();
        RawMaterial {
            certificate: RawPart::new("tls.crt", leaf.pem()),
            key: RawKey::Pem(RawPart::new("tls.key", key.serialize_pem())),
            roots: RawPart::new("ca.crt", self.root.pem()),
            crls: None,
            issuer: None,
        }
    }

    /// A server certificate for `nats.example`, that [`Pki::revocation_list`] can revoke.
    pub(super) fn server(&self) -> rcgen::Certificate {
        let mut params = CertificateParams::new(["nats.example".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(SERVER_SERIAL));
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.root).unwrap()
    }

    /// A list that ends at `end`, with the server on it or not.
    pub(super) fn revocation_list(&self, end: SystemTime, revoke_server: bool) -> RawPart {
        let revoked = revoke_server.then(|| RevokedCertParams {
            serial_number: SerialNumber::from(SERVER_SERIAL),
            revocation_time: OffsetDateTime::from(now() - 30 * DAY),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: OffsetDateTime::from(now() - 30 * DAY),
            next_update: OffsetDateTime::from(end),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        RawPart::new(
            "ca.crl",
            params.signed_by(&self.root).unwrap().pem().unwrap(),
        )
    }
}
