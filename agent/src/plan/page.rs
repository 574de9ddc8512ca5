//! The page for people: every number beside what it was computed from, and what to set.

use std::fmt::{self, Write as _};
use std::time::Duration;

use humantime::format_duration;

use super::Plan;
use super::arithmetic::Probe;

pub(super) fn draw(plan: &Plan) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    draw_into(&mut page, plan).ok();
    page
}

fn draw_into(page: &mut String, plan: &Plan) -> fmt::Result {
    draw_rotation(page, plan)?;
    draw_start(page, plan)?;
    draw_probes(page, plan)
}

fn draw_rotation(page: &mut String, plan: &Plan) -> fmt::Result {
    let (fleet, rotation) = (&plan.fleet, &plan.rotation);
    writeln!(
        page,
        "Rotation of {} pods, at most {} of them without NATS at once",
        fleet.pods, fleet.max_unavailable
    )?;
    let mut row =
        |name: &str, value: String, from: String| writeln!(page, "  {name:<13}{value:<10}{from}");
    row(
        "cycle",
        text(rotation.cycle),
        format!(
            "reconnect wait {} + handshake timeout {}",
            text(fleet.reconnect_wait),
            text(fleet.handshake_timeout)
        ),
    )?;
    row(
        "wave window",
        text(rotation.wave_window),
        "2 cycles: one attempt may fail; stop and look when a wave needs longer".to_owned(),
    )?;
    row(
        "waves",
        rotation.waves.to_string(),
        format!("{} / {}, rounded up", fleet.pods, fleet.max_unavailable),
    )?;
    row(
        "total",
        text(rotation.total),
        format!("{} x {}", rotation.waves, text(rotation.wave_window)),
    )
}

fn draw_start(page: &mut String, plan: &Plan) -> fmt::Result {
    let budget = &plan.startup;
    writeln!(
        page,
        "\nStart\n  {:<13}{:<10}connect timeout {} x {} servers x {} passes + margin {}",
        "budget",
        text(budget.total()),
        text(budget.connect_timeout),
        budget.servers,
        budget.passes,
        text(budget.margin)
    )
}

fn draw_probes(page: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(
        page,
        "\nProbes (Kubernetes)           periodSeconds  failureThreshold"
    )?;
    let mut row = |name: &str, probe: &Probe, why: String| {
        let (path, period) = (probe.path, probe.period.as_secs());
        let failures = probe.failure_threshold;
        writeln!(
            page,
            "  {name:<16}{path:<12}{period:<15}{failures:<18}{why}"
        )
    };
    let probes = &plan.probes;
    let patience = |probe: &Probe| text(probe.window());
    row(
        "startupProbe",
        &probes.startup,
        format!("patient for {}: the budget", patience(&probes.startup)),
    )?;
    row(
        "readinessProbe",
        &probes.readiness,
        format!(
            "patient for {}: a rotation takes no pod out",
            patience(&probes.readiness)
        ),
    )?;
    row(
        "livenessProbe",
        &probes.liveness,
        "never fails only because NATS is down".to_owned(),
    )?;
    page.write_str(
        "
Start policy                While NATS is down                         startupProbe
  --startup fail-fast       ends at the first failure                  none: it is up or gone
  --startup retry           tries for the budget, ends and says why    as above: the process gives up first
  --startup forever         goes on trying, not ready                  none: it would kill what is told to wait
  wait, as init container   the service does not start yet             for the service's own start only
",
    )
}

fn text(duration: Duration) -> String {
    format_duration(duration).to_string()
}
