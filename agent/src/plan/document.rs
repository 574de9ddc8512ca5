//! The JSON of `plan --json`. Keys are a contract; times are in seconds.

use nats_mtls::StartupBudget;
use serde::Serialize;

use super::Plan;
use super::arithmetic::Probe;

#[derive(Debug, Serialize)]
pub(super) struct Document {
    rotation: RotationDocument,
    startup: StartupDocument,
    probes: ProbesDocument,
}

#[derive(Debug, Serialize)]
struct RotationDocument {
    pods: u32,
    max_unavailable: u32,
    reconnect_wait_seconds: f64,
    handshake_timeout_seconds: f64,
    cycle_seconds: f64,
    wave_window_seconds: f64,
    waves: u32,
    total_seconds: f64,
}

#[derive(Debug, Serialize)]
struct StartupDocument {
    connect_timeout_seconds: f64,
    servers: u32,
    passes: u32,
    margin_seconds: f64,
    budget_seconds: f64,
}

#[derive(Debug, Serialize)]
struct ProbesDocument {
    startup: ProbeDocument,
    readiness: ProbeDocument,
    liveness: ProbeDocument,
}

#[derive(Debug, Serialize)]
struct ProbeDocument {
    path: &'static str,
    period_seconds: u64,
    failure_threshold: u64,
    window_seconds: u64,
}

impl From<&Plan> for Document {
    fn from(plan: &Plan) -> Self {
        let (fleet, rotation) = (&plan.fleet, &plan.rotation);
        Self {
            rotation: RotationDocument {
                pods: fleet.pods,
                max_unavailable: fleet.max_unavailable,
                reconnect_wait_seconds: fleet.reconnect_wait.as_secs_f64(),
                handshake_timeout_seconds: fleet.handshake_timeout.as_secs_f64(),
                cycle_seconds: rotation.cycle.as_secs_f64(),
                wave_window_seconds: rotation.wave_window.as_secs_f64(),
                waves: rotation.waves,
                total_seconds: rotation.total.as_secs_f64(),
            },
            startup: StartupDocument::from(&plan.startup),
            probes: ProbesDocument {
                startup: ProbeDocument::from(&plan.probes.startup),
                readiness: ProbeDocument::from(&plan.probes.readiness),
                liveness: ProbeDocument::from(&plan.probes.liveness),
            },
        }
    }
}

impl From<&StartupBudget> for StartupDocument {
    fn from(budget: &StartupBudget) -> Self {
        Self {
            connect_timeout_seconds: budget.connect_timeout.as_secs_f64(),
            servers: budget.servers,
            passes: budget.passes,
            margin_seconds: budget.margin.as_secs_f64(),
            budget_seconds: budget.total().as_secs_f64(),
        }
    }
}

impl From<&Probe> for ProbeDocument {
    fn from(probe: &Probe) -> Self {
        Self {
            path: probe.path,
            period_seconds: probe.period.as_secs(),
            failure_threshold: probe.failure_threshold,
            window_seconds: probe.window().as_secs(),
        }
    }
}
