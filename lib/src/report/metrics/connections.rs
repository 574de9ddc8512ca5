//! The metrics of the connections.

use std::time::Instant;

use ::metrics::{Histogram, counter, gauge, histogram};

use super::{Measured, names, number};
use crate::nats::{Cause, ConnectionTotals};

pub(super) fn emit(measured: &Measured<'_>) {
    for report in measured.connections {
        let generation = report.generation.map(|generation| generation.number());
        gauge!(names::CONNECTION_GENERATION, "component" => report.component.clone())
            .set(number(generation.unwrap_or_default()));
        emit_totals(&report.component, &report.totals, measured.now);
    }
    for (component, totals) in measured.retired {
        // The facade cannot take a series away; NaN compares with nothing.
        gauge!(names::CONNECTION_GENERATION, "component" => component.clone()).set(f64::NAN);
        emit_totals(component, totals, measured.now);
    }
}

fn emit_totals(component: &str, totals: &ConnectionTotals, now: Instant) {
    let name = || component.to_owned();
    let up = match totals {
        // Neither 0, which pages, nor 1: the facade cannot take a series away.
        ended if ended.is_ended() => f64::NAN,
        up if up.is_up() => 1.0,
        _ => 0.0,
    };
    gauge!(names::CONNECTION_UP, "component" => name()).set(up);
    counter!(names::CONNECTION_UP_SECONDS, "component" => name())
        .absolute(totals.up_time(now).as_secs());
    if let Some(first) = totals.first_connection {
        gauge!(names::FIRST_CONNECTION, "component" => name()).set(first.as_secs_f64());
    }
    counter!(names::CONNECTS, "component" => name()).absolute(totals.connects);
    let given_up = if totals.is_given_up() { 1.0 } else { 0.0 };
    gauge!(names::GIVEN_UP, "component" => name()).set(given_up);
    counter!(names::CLOSED, "component" => name()).absolute(totals.closed);
    let failed = totals.failed_attempts;
    for (result, count) in [
        ("ok", totals.connects),
        ("tls", failed.tls),
        ("auth", failed.auth),
        ("network", failed.network),
    ] {
        counter!(names::CONNECT_ATTEMPTS, "component" => name(), "result" => result)
            .absolute(count);
    }
    for cause in Cause::ALL {
        let label = cause.as_str();
        counter!(names::DISCONNECTS, "component" => name(), "cause" => label)
            .absolute(totals.disconnects.of(cause));
        counter!(names::RECONNECTS, "component" => name(), "cause" => label)
            .absolute(totals.reconnects.of(cause));
    }
    // Registered without an observation: there is a series before the first outage.
    let _ = outages(component);
}

pub(super) fn outages(component: &str) -> Histogram {
    histogram!(names::OUTAGES, "component" => component.to_owned())
}
