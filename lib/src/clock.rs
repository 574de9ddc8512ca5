//! The one place wall time comes from. Everything below takes `now` as an argument.

use std::time::SystemTime;

/// Wall time, for certificate validity and for timestamps that people read.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
