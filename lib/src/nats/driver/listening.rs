//! What a client tells by itself: its events, which may be lost, and how its passes over the servers
//! failed.

use async_nats::Event;
use tracing::warn;

use super::{Driver, now};
use crate::nats::cause::Cause;
use crate::nats::failure::FailureKind;
use crate::nats::passes::Pass;
use crate::reload::{Command, RollbackReason};

impl Driver {
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::LameDuckMode => {
                self.story.explanation().handle_lame_duck();
                let discovered = self.client.try_server_info();
                let others = discovered.map_or(0, |info| info.connect_urls.len());
                // A lone server would only be dialled again.
                if self.registration.servers.len().max(others) > 1 {
                    self.rotation.handle_lame_duck();
                }
            }
            Event::ServerError(error) => {
                let message = error.to_string();
                warn!(
                    component = self.registration.settings.component,
                    message, "server error"
                );
                if let Some(cause) = Cause::of_server_error(error) {
                    self.story.explanation().handle_hint(cause, now());
                }
            }
            Event::Disconnected => self.farewell.handle_heard(),
            Event::Draining => self.story.handle_draining(),
            Event::Closed => self.close(),
            // Seen by looking.
            _ => {}
        }
    }

    /// What a pass over the servers says of the outage.
    pub(super) fn hear_pass(&mut self, pass: &Pass) {
        let component = &self.registration.settings.component;
        for (server, failure) in &pass.failures {
            warn!(component, server, cause = %failure, "reconnect attempt failed");
        }
        if let Some(cause) = pass.refused_for() {
            self.story.explanation().handle_refusal(cause);
        }
        let configured = pass.of_configured(&self.registration.servers);
        let told = configured.failures.first().or(pass.failures.last());
        if let Some((server, failure)) = told {
            self.registration
                .update(|report| report.last_error = Some(format!("{server}: {failure}")));
        }
    }

    /// Whether the material is to blame; asked once it is known whether the client came up meanwhile.
    pub(super) fn judge_pass(&mut self, pass: &Pass) {
        let configured = pass.of_configured(&self.registration.servers);
        let generation = *self.generation.borrow();
        // What once worked here is not the material's fault now.
        let active = self.shared.store.active();
        let active = active.map(|active| active.material().digest());
        let worked_before = active.is_some() && self.came_up_on == active;
        if worked_before || pass.generation != Some(generation) {
            self.refusals.forget();
        } else if let Some((server, failure)) = self.refusals.count(&configured) {
            let detail = format!("{server}: {failure}");
            let reason = match failure.kind {
                FailureKind::Authorization => RollbackReason::Auth,
                _ => RollbackReason::Tls,
            };
            // A full queue means that the reload task is busy; the next pass tells it again.
            let refused = Command::ConnectionRefused {
                generation,
                reason,
                detail,
            };
            self.shared.commands.try_send(refused).ok();
        }
    }
}
