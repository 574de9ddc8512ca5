//! The metrics of the certificates: absolute times, because a "remaining" gauge lies when the
//! process hangs.

use ::metrics::gauge;

use super::{Measured, Metrics, names, unix_seconds};
use crate::report::certificates::{Certificates, Role, Source};

impl Metrics {
    pub(super) fn emit_certificates(&mut self, measured: &Measured<'_>) {
        let certificates =
            Certificates::new(measured.active, measured.reload, measured.connections);
        for (role, source) in Role::ALL
            .into_iter()
            .flat_map(|role| Source::ALL.map(|source| (role, source)))
        {
            let next = certificates.next_to_end(role, source, measured.wall);
            let times = next.map(|facts| (facts.not_after, facts.not_before));
            let (not_after, not_before) = match times {
                Some((not_after, not_before)) => {
                    self.shown.insert((role, source));
                    (unix_seconds(not_after), unix_seconds(not_before))
                }
                // A series cannot be taken back, and the last value may be long untrue.
                None if self.shown.contains(&(role, source)) => (f64::NAN, f64::NAN),
                None => continue,
            };
            let (role, source) = (role.as_str(), source.as_str());
            gauge!(names::NOT_AFTER, "role" => role, "source" => source).set(not_after);
            gauge!(names::NOT_BEFORE, "role" => role, "source" => source).set(not_before);
        }
    }
}
