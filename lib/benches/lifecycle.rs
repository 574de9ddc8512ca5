//! What it costs to handle one event of a connection: the state machine, the totals, the report,
//! the event for the application (target: under 1 µs). And, apart from that, what it costs to emit
//! every metric, which happens once for any number of events.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use metrics_exporter_prometheus::PrometheusBuilder;
use nats_mtls::nats::Rehearsal;
use nats_mtls::source::{RawKey, RawMaterial, RawPart, push_source};
use nats_mtls::{CertificateManager, ConnectSettings, StartupPolicy, StatusHandle};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::runtime::Runtime;

/// A service has one or a few.
const CONNECTIONS: usize = 3;
/// Nobody listens there: connections are wanted, and have all their series.
const NOBODY: &str = "tls://127.0.0.1:1";

fn event(criterion: &mut Criterion) {
    let mut rehearsal = Rehearsal::new().expect("a story");
    criterion.bench_function("lifecycle/one event", |bencher| {
        bencher.iter(|| rehearsal.event());
    });
}

fn set() -> RawMaterial {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate().expect("a key");
    let root = CertifiedIssuer::self_signed(params, key()).expect("a root");
    let leaf_key = key();
    let leaf = CertificateParams::new(["orders.acme.example".to_owned()])
        .and_then(|params| params.signed_by(&leaf_key, &root))
        .expect("a leaf");
    RawMaterial {
        certificate: RawPart::new("tls.crt", leaf.pem()),
        key: RawKey::Pem(RawPart::new("tls.key", leaf_key.serialize_pem())),
        roots: RawPart::new("ca.crt", root.pem()),
        crls: None,
        issuer: None,
    }
}

/// A manager with material and connections, which live as long as the runtime.
fn service(runtime: &Runtime) -> StatusHandle {
    let (pusher, source) = push_source();
    pusher.push(set());
    let building = CertificateManager::builder().source(source).build();
    let manager = runtime.block_on(building).expect("a manager");
    let status = manager.status_handle();
    for number in 0..CONNECTIONS {
        let manager = manager.clone();
        let settings = ConnectSettings::new()
            .component(format!("connection-{number}"))
            .startup(StartupPolicy::RetryForever);
        runtime.spawn(async move { manager.connect(NOBODY, settings).await });
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while status.status().connections.len() < CONNECTIONS {
        assert!(Instant::now() < deadline, "the connections are registered");
        std::thread::yield_now();
    }
    status
}

fn emit(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let status = service(&runtime);
    criterion.bench_function("metrics/emit without a recorder", |bencher| {
        bencher.iter(|| status.emit_metrics());
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let name = format!("metrics/emit to Prometheus, {CONNECTIONS} connections");
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| status.emit_metrics());
        });
    });
    let scrape = recorder.handle().render();
    assert!(scrape.contains("nats_mtls_connection_up{component=\"connection-2\"} 0"));
}

criterion_group!(benches, event, emit);
criterion_main!(benches);
