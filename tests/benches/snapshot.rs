//! What it costs to take a snapshot: what a service pays for each connection it makes.
//!
//! Taking alone, and with dropping it: the drop is that of any `Arc`, one atomic operation of the
//! four of the whole. The floor is cloning and dropping an `Arc` that nothing swaps.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use nats_mtls::CertificateManager;
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::service;

fn snapshot(criterion: &mut Criterion) {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(service::NAME));
    let contents = Contents::new(&identity, &authority.root_pem());
    let volume = KubernetesVolume::new(&contents).expect("a writable temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let manager: CertificateManager = runtime
        .block_on(service::builder(&volume).build())
        .expect("good material");
    criterion.bench_function("snapshot taken", |bencher| {
        bencher.iter_with_large_drop(|| black_box(&manager).snapshot());
    });
    criterion.bench_function("snapshot taken and dropped", |bencher| {
        bencher.iter(|| black_box(black_box(&manager).snapshot()));
    });
    let arc = manager.snapshot();
    criterion.bench_function("arc cloned and dropped", |bencher| {
        bencher.iter(|| black_box(Arc::clone(black_box(&arc))));
    });
}

criterion_group!(benches, snapshot);
criterion_main!(benches);
