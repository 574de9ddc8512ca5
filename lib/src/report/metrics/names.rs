//! The names, units, help texts and buckets of the metrics: a contract with rules and dashboards.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const BUILD_INFO: &str = "nats_mtls_build_info";
pub(super) const GENERATION: &str = "nats_mtls_generation";
pub(super) const RESTORED: &str = "nats_mtls_active_restored";
pub(super) const NOT_AFTER: &str = "nats_mtls_certificate_not_after_timestamp_seconds";
pub(super) const NOT_BEFORE: &str = "nats_mtls_certificate_not_before_timestamp_seconds";
pub(super) const RELOADS: &str = "nats_mtls_reload_total";
pub(super) const LAST_RELOAD_SUCCESSFUL: &str = "nats_mtls_last_reload_successful";
pub(super) const LAST_RELOAD_SUCCESS: &str = "nats_mtls_last_reload_success_timestamp_seconds";
pub(super) const DISK_DIFFERS_SINCE: &str = "nats_mtls_disk_differs_since_timestamp_seconds";
pub(super) const PREFLIGHTS: &str = "nats_mtls_preflight_total";
pub(super) const ROLLBACKS: &str = "nats_mtls_rollback_total";
pub(super) const ROTATION_DURATION: &str = "nats_mtls_rotation_duration_seconds";
pub(super) const WATCHER_MODE: &str = "nats_mtls_watcher_mode";
pub(super) const CONNECT_ATTEMPTS: &str = "nats_mtls_connect_attempts_total";
pub(super) const FIRST_CONNECTION: &str = "nats_mtls_first_connection_seconds";
pub(super) const CONNECTION_UP: &str = "nats_mtls_connection_up";
pub(super) const CONNECTION_UP_SECONDS: &str = "nats_mtls_connection_up_seconds_total";
pub(super) const CONNECTION_GENERATION: &str = "nats_mtls_connection_generation";
pub(super) const CONNECTS: &str = "nats_mtls_connect_total";
pub(super) const DISCONNECTS: &str = "nats_mtls_disconnect_total";
pub(super) const RECONNECTS: &str = "nats_mtls_reconnect_total";
pub(super) const CLOSED: &str = "nats_mtls_connection_closed_total";
pub(super) const GIVEN_UP: &str = "nats_mtls_connection_given_up";
pub(super) const OUTAGES: &str = "nats_mtls_outage_seconds";
pub(super) const RELAY_STALLS: &str = "nats_mtls_relay_handover_stall_seconds";
pub(super) const RELAY_SESSIONS: &str = "nats_mtls_relay_sessions";
pub(super) const RELAY_SESSIONS_TOTAL: &str = "nats_mtls_relay_sessions_total";
pub(super) const RELAY_HANDOVERS: &str = "nats_mtls_relay_handover_total";
pub(super) const RELAY_BYTES: &str = "nats_mtls_relay_bytes_total";
pub(super) const RELAY_MESSAGES: &str = "nats_mtls_relay_messages_total";

/// From a move of a few milliseconds to an outage of an hour.
const OUTAGE_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];
/// From a change that is asked about at once to one that waits for its servers for hours.
const ROTATION_BUCKETS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 21_600.0,
];
/// From what nobody can notice to what every client does.
const STALL_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// The histograms and the upper bounds of their buckets, in seconds: for whoever installs the
/// recorder. The Prometheus exporter makes summaries of histograms without buckets.
#[must_use]
pub fn histogram_buckets() -> [(&'static str, &'static [f64]); 3] {
    [
        (OUTAGES, OUTAGE_BUCKETS),
        (ROTATION_DURATION, ROTATION_BUCKETS),
        (RELAY_STALLS, STALL_BUCKETS),
    ]
}

/// Tells the recorder what each metric means.
pub(crate) fn describe() {
    for (name, unit, help) in GAUGES {
        describe_gauge!(name, unit, help);
    }
    for (name, unit, help) in COUNTERS {
        describe_counter!(name, unit, help);
    }
    for (name, unit, help) in HISTOGRAMS {
        describe_histogram!(name, unit, help);
    }
}

type Described = (&'static str, Unit, &'static str);

const GAUGES: [Described; 14] = [
    (
        BUILD_INFO,
        Unit::Count,
        "Always 1; the version of nats-mtls and its crypto provider.",
    ),
    (
        GENERATION,
        Unit::Count,
        "The active generation; 0 before there is material.",
    ),
    (
        RESTORED,
        Unit::Count,
        "1 while the last good set from before the start is active, because the files are bad.",
    ),
    (
        NOT_AFTER,
        Unit::Seconds,
        "When the certificate ends; of several the one that ends first, of roots among those still valid.",
    ),
    (
        NOT_BEFORE,
        Unit::Seconds,
        "When the same certificate began to be valid.",
    ),
    (
        LAST_RELOAD_SUCCESSFUL,
        Unit::Count,
        "1 if what the files hold is acceptable, also while it waits; 0 if not, and before the first reading.",
    ),
    (
        LAST_RELOAD_SUCCESS,
        Unit::Seconds,
        "When something acceptable was judged last.",
    ),
    (
        DISK_DIFFERS_SINCE,
        Unit::Seconds,
        "Since when the files differ from what is active; 0 while they agree.",
    ),
    (
        WATCHER_MODE,
        Unit::Count,
        "1 for the way changes are noticed, 0 for the other.",
    ),
    (
        FIRST_CONNECTION,
        Unit::Seconds,
        "From the start of the connection to the first time it was up.",
    ),
    (
        CONNECTION_UP,
        Unit::Count,
        "1 while the connection is up, else 0; NaN once it was ended on purpose.",
    ),
    (
        GIVEN_UP,
        Unit::Count,
        "1 from when the connection was closed for good without being asked to until it is up again, else 0.",
    ),
    (
        CONNECTION_GENERATION,
        Unit::Count,
        "The generation the connection came up on last; 0 before that.",
    ),
    (RELAY_SESSIONS, Unit::Count, "Clients of the relay now."),
];

const COUNTERS: [Described; 13] = [
    (
        RELOADS,
        Unit::Count,
        "Outcomes of reloads; unchanged only if asked for, or back after a rejection.",
    ),
    (
        PREFLIGHTS,
        Unit::Count,
        "Answers of the servers about candidates.",
    ),
    (
        ROLLBACKS,
        Unit::Count,
        "Generations that took back one that connections could not come up on.",
    ),
    (
        CONNECT_ATTEMPTS,
        Unit::Count,
        "Attempts to connect to one server, by what came of them.",
    ),
    (
        CONNECTION_UP_SECONDS,
        Unit::Seconds,
        "For how long the connection has been up altogether, in whole seconds.",
    ),
    (
        CONNECTS,
        Unit::Count,
        "How often the connection came up, the first time included.",
    ),
    (
        DISCONNECTS,
        Unit::Count,
        "How often the connection went down, by cause; never tls, which only keeps it down.",
    ),
    (
        RECONNECTS,
        Unit::Count,
        "How often the connection came up again, by what kept it down: tls or auth if it was refused meanwhile, else the cause of the disconnect.",
    ),
    (
        CLOSED,
        Unit::Count,
        "Connections closed for good without being asked to.",
    ),
    (
        RELAY_SESSIONS_TOTAL,
        Unit::Count,
        "Clients that came to the relay, by what became of them.",
    ),
    (
        RELAY_HANDOVERS,
        Unit::Count,
        "Moves of clients onto a new generation: unnoticed, given up, or left to the client.",
    ),
    (
        RELAY_BYTES,
        Unit::Bytes,
        "Protocol and payload that the relay passed on, without TLS.",
    ),
    (
        RELAY_MESSAGES,
        Unit::Count,
        "Messages that the relay passed on.",
    ),
];

const HISTOGRAMS: [Described; 3] = [
    (
        ROTATION_DURATION,
        Unit::Seconds,
        "From the first sight of a change to a live connection on it.",
    ),
    (
        OUTAGES,
        Unit::Seconds,
        "How long the connection was down, each time it came up again; 0 if nobody saw it, which takes lost events and less than a second.",
    ),
    (
        RELAY_STALLS,
        Unit::Seconds,
        "How long a client's messages stood still in a handover.",
    ),
];
