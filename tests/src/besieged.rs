//! An agent with a relay among hostile clients: what they cost it, and a well-behaved session beside
//! them that must not feel it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::agent::AgentCommand;
use crate::load::{Clock, Conversation, Endpoint, Topic};
use crate::pki::{Authority, LeafSpec};
use crate::relay::Relay;
use crate::server::{NatsServer, ServerSettings};
use crate::tls::TlsVersion;
use crate::wait::{PATIENCE, eventually};

/// Messages a second of the neighbour, each way.
const RATE: f64 = 1_000.0;
/// So many have come each way before anything hostile happens, and after it.
const WARM: u64 = 500;
/// What a busy machine does to anybody; a relay that serves one session at a time would take longer.
const LONGEST_STALL: Duration = Duration::from_secs(2);

/// The scene.
pub struct Besieged {
    /// The agent.
    pub relay: Relay,
    server: NatsServer,
    direct: Endpoint,
    neighbour: Conversation,
    clock: Clock,
    began: Duration,
    before: u64,
}

impl Besieged {
    /// Starts all of it, the neighbour at work.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start(configure: impl FnOnce(AgentCommand) -> AgentCommand) -> Result<Self> {
        let authority = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        let servers = [server];
        let relay = Relay::start(&authority, &servers, configure).await?;
        let [server] = servers;
        let identity = authority.issue(&LeafSpec::client("peer"));
        let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
        let direct = Endpoint::tls(server.port(), config);
        let topic = Topic {
            name: "neighbour".to_owned(),
            rate: RATE,
            size: 128,
        };
        let clock = Clock::start();
        let neighbour = Conversation::start(&relay.endpoint(), &direct, &topic, clock)?;
        goes_on(&neighbour, 0).await?;
        Ok(Self {
            before: relay.agent.process().resident()?,
            began: clock.now(),
            relay,
            server,
            direct,
            neighbour,
            clock,
        })
    }

    /// Where the strangers connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.relay.port()
    }

    /// The server, for clients that do not go through the relay.
    #[must_use]
    pub fn direct(&self) -> &Endpoint {
        &self.direct
    }

    /// The server itself.
    #[must_use]
    pub fn server(&self) -> &NatsServer {
        &self.server
    }

    /// The most memory that the agent had in use so far, beyond what it had in the beginning.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cost(&self) -> Result<u64> {
        let most = self.relay.agent.process().most_resident()?;
        Ok(most.saturating_sub(self.before))
    }

    /// What became of the sessions, and how many there are.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn status(&self) -> Result<serde_json::Value> {
        Ok(self.relay.agent.status().await?["relay"].take())
    }

    /// Waits until the neighbour is the only one left.
    ///
    /// # Errors
    /// When others stay.
    pub async fn is_left_alone(&self) -> Result<()> {
        eventually(PATIENCE, "the neighbour is alone", || async {
            let sessions = self.status().await?["sessions"].take();
            ensure!(sessions == 1, "{sessions} sessions");
            Ok(Some(()))
        })
        .await
    }

    /// The neighbour has felt nothing, and goes on.
    ///
    /// # Errors
    /// When it lost something, or had to wait.
    pub async fn finish(self) -> Result<()> {
        let (up, down) = self.neighbour.received();
        goes_on(&self.neighbour, up.max(down)).await?;
        let until = self.clock.now();
        let verdict = self.neighbour.finish().await?;
        let (up, down) = (verdict.up, verdict.down);
        ensure!(up.wrong() + down.wrong() == 0, "up {up:?}, down {down:?}");
        let stall = verdict.longest_stall(self.began, until);
        ensure!(stall < LONGEST_STALL, "the neighbour stood for {stall:?}");
        Ok(())
    }
}

async fn goes_on(neighbour: &Conversation, from: u64) -> Result<()> {
    eventually(PATIENCE, "the neighbour goes on", || async {
        let (up, down) = neighbour.received();
        Ok((up.min(down) >= from + WARM).then_some(()))
    })
    .await
}
