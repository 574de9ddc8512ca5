//! A story without a client, for the benchmark of what one event costs. Not part of the interface.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{broadcast, watch};

use crate::nats::event::ConnectionEvent;
use crate::nats::registry::{Registration, Registry};
use crate::nats::rotation::Link;
use crate::nats::servers::{IntoServerList, ServerListError};
use crate::nats::settings::ConnectSettings;
use crate::nats::story::Story;
use crate::nats::totals::FailedAttempts;
use crate::store::Generation;

/// See the module documentation.
#[doc(hidden)]
pub struct Rehearsal {
    story: Story,
    registration: Registration,
    connects: u64,
    is_up: bool,
    _listener: broadcast::Receiver<ConnectionEvent>,
}

impl Rehearsal {
    /// A connection that nobody made.
    ///
    /// # Errors
    /// Never: the server it names is a valid one.
    pub fn new() -> Result<Self, ServerListError> {
        let servers = "tls://localhost:4222".into_server_list()?;
        let registration = Arc::new(Registry::default())
            .register(servers, ConnectSettings::new())
            .ok_or(ServerListError::Empty)?;
        let (events, listener) = broadcast::channel(64);
        Ok(Self {
            story: Story::new(events, watch::Sender::new(0), FailedAttempts::default()),
            registration,
            connects: 0,
            is_up: false,
            _listener: listener,
        })
    }

    /// One event: down if it was up, up if it was down.
    pub fn event(&mut self) {
        let now = Instant::now();
        self.is_up = !self.is_up;
        self.connects += u64::from(self.is_up);
        let link = if self.is_up {
            Link::Up {
                connects: self.connects,
                generation: Generation::NONE,
            }
        } else {
            Link::Down
        };
        self.story.handle_link(link, now);
        let failed = FailedAttempts::default();
        self.story.tell(&self.registration, failed, None, now);
    }
}
