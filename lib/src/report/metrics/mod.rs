//! Makes metrics of what the layers report: the only place in the
//! library that talks to the `metrics` facade.
//!
//! Counters are set to the totals that the layers keep, so an emission that is late, repeated or
//! left out makes nothing wrong. Only histograms need each observation once; the journal keeps
//! them until they are taken here. Nothing is cached of the recorder, so one that is installed
//! late gets everything with the next emission.

mod certificates;
mod connections;
mod names;
#[cfg(feature = "relay")]
mod relays;
mod reloads;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Instant, SystemTime};

use ::metrics::{gauge, histogram};

pub use names::histogram_buckets;

pub(crate) use names::describe;
#[cfg(feature = "relay")]
pub(crate) use relays::MeasuredRelay;

use crate::crypto;
use crate::nats::{ConnectionReport, ConnectionTotals, Observation};
use crate::reload::ReloadReport;
use crate::report::certificates::{Role, Source};
use crate::report::runs_on_restored;
use crate::store::Snapshot;

/// What the layers know at one moment.
pub(crate) struct Measured<'a> {
    pub(crate) active: Option<&'a Snapshot>,
    pub(crate) reload: Option<&'a ReloadReport>,
    pub(crate) connections: &'a [ConnectionReport],
    /// Components that are not connected any more, so that their series do not freeze.
    pub(crate) retired: &'a [(String, ConnectionTotals)],
    /// Since the last emission; each is recorded once.
    pub(crate) observations: VecDeque<Observation>,
    /// None before the first relay.
    #[cfg(feature = "relay")]
    pub(crate) relay: Option<MeasuredRelay>,
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

/// Emits, and remembers which series it must take back: the facade cannot delete one.
#[derive(Default)]
pub(crate) struct Metrics {
    shown: BTreeSet<(Role, Source)>,
}

impl Metrics {
    pub(crate) fn emit(&mut self, measured: &Measured<'_>) {
        gauge!(
            names::BUILD_INFO,
            "version" => env!("CARGO_PKG_VERSION"), "provider" => crypto::PROVIDER
        )
        .set(1.0);
        let generation = measured.active.map(|active| active.generation().number());
        gauge!(names::GENERATION).set(number(generation.unwrap_or_default()));
        let restored = runs_on_restored(measured.active, measured.reload);
        gauge!(names::RESTORED).set(if restored { 1.0 } else { 0.0 });
        self.emit_certificates(measured);
        reloads::emit(measured.reload);
        connections::emit(measured);
        #[cfg(feature = "relay")]
        if let Some(relay) = &measured.relay {
            relays::emit(relay);
        }
        let rotations = histogram!(names::ROTATION_DURATION);
        for observation in &measured.observations {
            match observation {
                Observation::Rotation { duration } => rotations.record(*duration),
                Observation::Outage { component, outage } => {
                    connections::outages(component).record(*outage);
                }
            }
        }
    }
}

/// Exact up to 2^53, which no generation reaches.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn number(number: u64) -> f64 {
    number as f64
}

/// Seconds since 1970, negative before.
fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use super::*;

    fn rendered(emit: impl FnOnce(&mut Metrics)) -> String {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in histogram_buckets() {
            let matcher = Matcher::Full(name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, buckets).unwrap();
        }
        let recorder = builder.build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            describe();
            emit(&mut Metrics::default());
        });
        recorder.handle().render()
    }

    fn at_start(observations: VecDeque<Observation>) -> String {
        let connection = ConnectionReport::connecting("orders", ConnectionTotals::default());
        rendered(|metrics| {
            metrics.emit(&Measured {
                active: None,
                reload: None,
                connections: &[connection],
                retired: &[("old".to_owned(), ConnectionTotals::default())],
                observations,
                #[cfg(feature = "relay")]
                relay: tests_relay(),
                now: Instant::now(),
                wall: SystemTime::now(),
            });
        })
    }

    #[cfg(feature = "relay")]
    fn tests_relay() -> Option<MeasuredRelay> {
        let board = std::sync::Arc::new(crate::relay::Board::default());
        let report = board.report_of(None);
        let stalls = vec![Duration::from_micros(400), Duration::from_millis(3)];
        Some(MeasuredRelay { report, stalls })
    }

    #[cfg(feature = "relay")]
    #[test]
    fn every_label_of_a_relay_is_there_from_the_start() {
        let text = at_start(VecDeque::new());
        for line in [
            r#"nats_mtls_relay_sessions 0"#,
            r#"nats_mtls_relay_sessions_total{result="limit"} 0"#,
            r#"nats_mtls_relay_handover_total{result="ok",reason="none"} 0"#,
            r#"nats_mtls_relay_handover_total{result="failed",reason="subscription_denied"} 0"#,
            r#"nats_mtls_relay_handover_total{result="fallback",reason="signed_nonce"} 0"#,
            r#"nats_mtls_relay_bytes_total{direction="upstream"} 0"#,
            r#"nats_mtls_relay_messages_total{direction="downstream"} 0"#,
            r#"nats_mtls_relay_handover_stall_seconds_bucket{le="0.0005"} 1"#,
            r#"nats_mtls_relay_handover_stall_seconds_count 2"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_closed_label_set_is_there_from_the_start_and_times_are_not() {
        let text = at_start(VecDeque::new());
        for line in [
            r#"nats_mtls_generation 0"#,
            r#"nats_mtls_active_restored 0"#,
            r#"nats_mtls_reload_total{result="published",reason="none"} 0"#,
            r#"nats_mtls_reload_total{result="rejected",reason="key_mismatch"} 0"#,
            r#"nats_mtls_preflight_total{result="pending"} 0"#,
            r#"nats_mtls_rollback_total{reason="auth"} 0"#,
            r#"nats_mtls_last_reload_successful 0"#,
            r#"nats_mtls_watcher_mode{mode="inotify"} 0"#,
            r#"nats_mtls_connection_up{component="orders"} 0"#,
            r#"nats_mtls_connection_up{component="old"} 0"#,
            r#"nats_mtls_connection_generation{component="orders"} 0"#,
            r#"nats_mtls_connect_attempts_total{component="orders",result="tls"} 0"#,
            r#"nats_mtls_disconnect_total{component="orders",cause="lame_duck"} 0"#,
            r#"nats_mtls_reconnect_total{component="old",cause="client"} 0"#,
            r#"nats_mtls_connection_closed_total{component="orders"} 0"#,
            r#"nats_mtls_connection_given_up{component="orders"} 0"#,
            r#"nats_mtls_outage_seconds_count{component="orders"} 0"#,
            r#"nats_mtls_outage_seconds_bucket{component="old",le="0.005"} 0"#,
            r#"nats_mtls_rotation_duration_seconds_count 0"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(!text.contains("timestamp_seconds"), "{text}");
        assert!(!text.contains("first_connection"), "{text}");
    }

    #[test]
    fn what_was_ended_on_purpose_is_neither_up_nor_down() {
        let mut totals = ConnectionTotals::default();
        totals.retire(true, Instant::now());
        let text = rendered(|metrics| {
            metrics.emit(&Measured {
                active: None,
                reload: None,
                connections: &[],
                retired: &[("old".to_owned(), totals)],
                observations: VecDeque::new(),
                now: Instant::now(),
                wall: SystemTime::now(),
                #[cfg(feature = "relay")]
                relay: None,
            });
        });
        let up = r#"nats_mtls_connection_up{component="old"} NaN"#;
        assert!(text.lines().any(|line| line == up), "{text}");
    }

    #[test]
    fn every_metric_is_described_and_named_by_the_rules() {
        let text = at_start(VecDeque::new());
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let words: Vec<_> = line.split(' ').collect();
            assert_eq!(
                words[2].ends_with("_total"),
                words[3] == "counter",
                "{line}"
            );
            assert!(text.contains(&format!("# HELP {} ", words[2])), "{line}");
        }
    }

    #[test]
    fn observations_are_recorded_once_each() {
        let outage = |milliseconds| Observation::Outage {
            component: "orders".to_owned(),
            outage: Duration::from_millis(milliseconds),
        };
        let text = at_start([outage(3), outage(700), outage(4_000_000)].into());
        for line in [
            r#"nats_mtls_outage_seconds_bucket{component="orders",le="0.005"} 1"#,
            r#"nats_mtls_outage_seconds_bucket{component="orders",le="1"} 2"#,
            r#"nats_mtls_outage_seconds_bucket{component="orders",le="3600"} 2"#,
            r#"nats_mtls_outage_seconds_bucket{component="orders",le="+Inf"} 3"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn times_before_1970_are_negative() {
        let second = Duration::from_secs(1);
        assert!((unix_seconds(SystemTime::UNIX_EPOCH - second) + 1.0).abs() < 1e-9);
        assert!((unix_seconds(SystemTime::UNIX_EPOCH + second) - 1.0).abs() < 1e-9);
    }
}
