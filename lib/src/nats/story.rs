//! What a connection tells the world: its report, its totals, events and the log, all from the
//! same observation. Must not look at the client itself.

use std::time::Instant;

use tokio::sync::{broadcast, watch};
use tracing::{info, warn};

use crate::clock;
use crate::nats::arrival::Arrival;
use crate::nats::event::{ConnectionEvent, ConnectionState};
use crate::nats::explanation::Explanation;
use crate::nats::journal::Observation;
use crate::nats::lifecycle::Lifecycle;
use crate::nats::registry::Registered;
use crate::nats::rotation::Link;
use crate::nats::totals::FailedAttempts;

/// See the module documentation.
pub(crate) struct Story {
    lifecycle: Lifecycle,
    events: broadcast::Sender<ConnectionEvent>,
    epoch: watch::Sender<u64>,
    /// Attempts that failed before the client there is now was made.
    failed_before: FailedAttempts,
}

impl Story {
    pub(crate) fn new(
        events: broadcast::Sender<ConnectionEvent>,
        epoch: watch::Sender<u64>,
        failed_before: FailedAttempts,
    ) -> Self {
        Self {
            lifecycle: Lifecycle::new(),
            events,
            epoch,
            failed_before,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lifecycle.state() == ConnectionState::Closed
    }

    pub(crate) fn handle_link(&mut self, link: Link, now: Instant) {
        self.lifecycle.handle_link(link, now);
    }

    /// What is heard that explains disconnects and outages.
    pub(crate) fn explanation(&mut self) -> &mut Explanation {
        self.lifecycle.explanation()
    }

    pub(crate) fn handle_move_over(&mut self) {
        self.lifecycle.handle_move_over();
    }

    pub(crate) fn handle_draining(&mut self) {
        self.lifecycle.handle_draining();
    }

    pub(crate) fn handle_closed(&mut self, now: Instant) {
        self.lifecycle.handle_closed(now);
    }

    /// Writes down what changed, then tells it: whoever hears an event finds it in the report.
    pub(crate) fn tell(
        &mut self,
        registered: &Registered,
        failed: FailedAttempts,
        arrival: Option<Arrival>,
        now: Instant,
    ) {
        let events: Vec<_> = std::iter::from_fn(|| self.lifecycle.poll_event()).collect();
        let state = self.lifecycle.state();
        let (known_state, mut totals) = registered.look(|report| (report.state, report.totals));
        let known_totals = totals;
        for event in &events {
            let asked = self.lifecycle.is_draining();
            totals.handle_event(*event, asked, registered.started(), now);
        }
        totals.failed_attempts = self.failed_before.plus(failed);
        // One that nobody saw going ends as it began.
        let is_back = events
            .iter()
            .any(|event| matches!(event, ConnectionEvent::Reconnected { .. }));
        if arrival.is_some() || known_state != state || known_totals != totals {
            registered.update(|report| {
                if let Some(arrival) = arrival {
                    arrival.write(report);
                }
                if report.state != state || is_back {
                    report.state = state;
                    report.since = clock::now();
                }
                report.totals = totals;
            });
        }
        for event in events {
            if let ConnectionEvent::Reconnected { outage, .. } = event {
                let component = registered.settings.component.clone();
                registered.observe(Observation::Outage { component, outage });
                self.epoch.send_modify(|epoch| *epoch += 1);
            }
            self.log(event, &registered.settings.component);
            // Nobody may be listening.
            self.events.send(event).ok();
        }
    }

    fn log(&self, event: ConnectionEvent, component: &str) {
        match event {
            ConnectionEvent::Connected { generation } => {
                info!(component, %generation, "connected");
            }
            ConnectionEvent::Disconnected { cause } => {
                info!(component, cause = cause.as_str(), "disconnected");
            }
            ConnectionEvent::Reconnected {
                outage,
                cause,
                generation,
            } => info!(
                component, cause = cause.as_str(), %generation,
                outage_milliseconds = outage.as_millis(), "reconnected"
            ),
            ConnectionEvent::Closed if self.lifecycle.is_draining() => {
                info!(component, "drained and closed");
            }
            ConnectionEvent::Closed => {
                warn!(component, "closed for good; only a restart brings it back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::nats::registry::Registry;
    use crate::nats::servers::ServerList;
    use crate::nats::settings::ConnectSettings;
    use crate::store::Generation;

    #[test]
    fn a_reconnect_that_nobody_saw_has_begun_a_new_time_up() {
        let servers = ServerList::parse(["tls://a"]).unwrap();
        let registry = Arc::new(Registry::default());
        let registration = registry.register(servers, ConnectSettings::new()).unwrap();
        let failed = FailedAttempts::default();
        let (events, _) = broadcast::channel(8);
        let mut story = Story::new(events, watch::Sender::new(0), failed);
        let now = Instant::now();
        let mut up_since = |connects| {
            let generation = Generation::NONE;
            let link = Link::Up {
                connects,
                generation,
            };
            registration.update(|report| report.since = SystemTime::UNIX_EPOCH);
            story.handle_link(link, now);
            story.tell(&registration, failed, None, now);
            registration.report().since
        };
        assert!(up_since(1) > SystemTime::UNIX_EPOCH);
        assert_eq!(up_since(1), SystemTime::UNIX_EPOCH);
        assert!(up_since(2) > SystemTime::UNIX_EPOCH);
    }
}
