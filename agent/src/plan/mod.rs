//! `plan`: what a rotation of a fleet takes, how long a start may take, and which probe settings
//! follow from that. Touches no file and no network.

mod arithmetic;
mod document;
mod page;

use std::io::{self, Write as _};

use nats_mtls::StartupBudget;

use crate::args::PlanArgs;
use crate::config::PlanConfig;
use crate::outcome::Outcome;
pub(crate) use arithmetic::Fleet;
use arithmetic::{Probes, Rotation};
use document::Document;

/// Input and results.
#[derive(Debug)]
struct Plan {
    fleet: Fleet,
    rotation: Rotation,
    startup: StartupBudget,
    probes: Probes,
}

/// The command, from arguments to exit code.
pub(crate) fn command(args: &PlanArgs) -> Outcome {
    let config = match PlanConfig::new(args) {
        Ok(config) => config,
        Err(error) => return Outcome::wrong_usage(&error),
    };
    let plan = Plan::new(config.fleet, config.startup);
    let text = if config.json {
        match serde_json::to_string_pretty(&Document::from(&plan)) {
            Ok(text) => text + "\n",
            Err(error) => return Outcome::broken("cannot write JSON", &error),
        }
    } else {
        page::draw(&plan)
    };
    // A reader that closed the pipe early still gets its exit code.
    io::stdout().write_all(text.as_bytes()).ok();
    Outcome::Done
}

impl Plan {
    fn new(fleet: Fleet, startup: StartupBudget) -> Self {
        let rotation = fleet.rotation();
        Self {
            fleet,
            rotation,
            startup,
            probes: Probes::covering(startup.total(), rotation.cycle),
        }
    }
}
