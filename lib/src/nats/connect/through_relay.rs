//! One pass of the first connection of a client that goes through a relay of this process. The
//! relay tries the servers and knows why they failed; the client would only know that it was sent
//! away.

use async_nats::Client;
use tokio::time::timeout;

use super::{gone, note};
use crate::nats::failure::Failure;
use crate::nats::hop::Hop;
use crate::nats::registry::Registration;
use crate::nats::servers;
use crate::nats::startup::ServerAttempts;
use crate::nats::wires::{self, Wires};

/// Every server once; none if no one accepts.
pub(super) async fn try_all(
    registration: &Registration,
    hop: &mut Hop,
    attempts: &mut [ServerAttempts],
) -> Option<(Client, Wires)> {
    let failures = match try_once(registration, hop).await {
        Ok(connected) => {
            // Of several only the relay knows which it was.
            if let [only] = attempts {
                only.attempts += 1;
                only.last_failure = Some(gone());
            }
            return Some(connected);
        }
        Err(failures) => failures,
    };
    for (server, failure) in failures {
        // Two of the list may have one name.
        let mut known = attempts.iter_mut();
        if let Some(attempt) = known.find(|attempt| attempt.server == server) {
            attempt.attempts += 1;
            note(registration, attempt, failure);
        }
    }
    None
}

async fn try_once(
    registration: &Registration,
    hop: &mut Hop,
) -> Result<(Client, Wires), Vec<(String, Failure)>> {
    hop.prepare().await.map_err(|pass| pass.failures)?;
    let settings = &registration.settings;
    let options = settings.hop_options(&registration.servers, &hop.token);
    let options = options.name(&settings.component);
    let over = hop.over().clone();
    let (options, mut wires) = wires::attach_to_relay(options, settings.reconnect_backoff, over);
    let limit = settings.hop_limit(&registration.servers);
    let connected = timeout(limit, options.connect(&hop.address)).await;
    let failure = match connected {
        Ok(Ok(client)) => {
            hop.carries(&client, &mut wires);
            return Ok((client, wires));
        }
        Ok(Err(error)) => Failure::from_connect_error(&error),
        Err(_) => Failure::unavailable("no answer in time"),
    };
    let told = hop.failures();
    if told.is_empty() {
        let all = registration.servers.addresses().iter();
        let all = all.map(|it| (servers::label(it), failure.clone()));
        return Err(all.collect());
    }
    Err(told)
}
