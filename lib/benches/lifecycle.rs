//! What it costs to handle one event of a connection: the state machine, the totals, the report,
//! the event for the application (target: under 1 µs). And, apart from that, what it costs to emit
//! every metric, which happens once for any number of events.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use metrics_exporter_prometheus::PrometheusBuilder;
use nats_mtls::CertificateManager;
use nats_mtls::nats::Rehearsal;

fn event(criterion: &mut Criterion) {
    let mut rehearsal = Rehearsal::new().expect("a story");
    criterion.bench_function("lifecycle/one event", |bencher| {
        bencher.iter(|| rehearsal.event());
    });
}

fn emit(criterion: &mut Criterion) {
    let status = CertificateManager::builder().status_handle();
    criterion.bench_function("metrics/emit without a recorder", |bencher| {
        bencher.iter(|| status.emit_metrics());
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        criterion.bench_function("metrics/emit to Prometheus", |bencher| {
            bencher.iter(|| status.emit_metrics());
        });
    });
}

criterion_group!(benches, event, emit);
criterion_main!(benches);
