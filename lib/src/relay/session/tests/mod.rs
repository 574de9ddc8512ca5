//! A session against a simulated server that interleaves, delays and fails at every step.

mod bounds;
mod contract;
mod exactness;
mod failures;
mod farewell;
mod late;
mod maximum;
mod refusals;
mod script;
mod simulation;
mod welcome;

use std::time::Duration;

use super::{HandoverTiming, InterestLimits, SessionSettings};
use crate::relay::protocol::{InfoRewrite, ParseLimits};

fn settings() -> SessionSettings {
    SessionSettings {
        parse: ParseLimits::client(),
        interest: InterestLimits {
            subscriptions: 1000,
            bytes: 100_000,
        },
        timing: HandoverTiming {
            step: Duration::from_secs(2),
            tail: Duration::from_millis(50),
            route: Duration::from_millis(100),
        },
        info: InfoRewrite::default(),
        pending_bytes: 1024 * 1024,
    }
}
