//! How long it takes to turn a set into material: with one root, and with as many as a public root
//! store has (target: under 5 ms).

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark may panic"
)]

use std::hint::black_box;
use std::time::SystemTime;

use criterion::{Criterion, criterion_group, criterion_main};
use nats_mtls::material::{Material, Policy};
use nats_mtls::source::{RawKey, RawMaterial, RawPart};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A leaf, an intermediate and `roots` roots, with keys that are all different.
fn set(roots: usize) -> RawMaterial {
    let authority = |name: String| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let key = || KeyPair::generate().expect("a key");
    let roots = (0..roots)
        .map(|number| {
            CertifiedIssuer::self_signed(authority(format!("Root {number}")), key())
                .expect("a root")
        })
        .collect::<Vec<_>>();
    let intermediate =
        CertifiedIssuer::signed_by(authority("Intermediate".to_owned()), key(), &roots[0])
            .expect("an intermediate");
    let leaf_key = key();
    let leaf = CertificateParams::new(["orders.acme.example".to_owned()])
        .and_then(|params| params.signed_by(&leaf_key, &intermediate))
        .expect("a leaf");
    let bundle = roots.iter().map(|root| root.pem()).collect::<String>();
    RawMaterial {
        certificate: RawPart::new("tls.crt", leaf.pem() + &intermediate.pem()),
        key: RawKey::Pem(RawPart::new("tls.key", leaf_key.serialize_pem())),
        roots: RawPart::new("ca.crt", bundle),
        crls: None,
        issuer: None,
    }
}

fn parse(criterion: &mut Criterion) {
    let policy = Policy::default();
    for roots in [1, 150] {
        let raw = set(roots);
        criterion.bench_function(&format!("parse/{roots} roots"), |bencher| {
            bencher.iter(|| Material::parse(black_box(&raw), &policy, SystemTime::now()));
        });
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
