//! Everything that can stand between a client and one server, at work side by side: nothing but TLS, the relay, and each
//! byte tunnel that is installed.
//!
//! All of them speak mutual TLS 1.3 to the same nats-server, TLS first, because that is all a tunnel can do. Beside TLS
//! the server takes plain text, for whoever is not measured.

use anyhow::{Context as _, Result};

use crate::load::Endpoint;
use crate::peers::{Credentials, Peer, Tunnel};
use crate::pki::{Authority, LeafSpec};
use crate::relay::Relay;
use crate::server::{HandshakeFirst, NatsServer, ServerSettings};
use crate::tls::TlsVersion;

/// The name of TLS without anything in between.
pub const DIRECT: &str = "direct";
/// The name of the relay.
pub const RELAY: &str = "relay";

/// The server and what stands before it.
pub struct Arena {
    /// The server.
    pub server: NatsServer,
    /// Direct first, then the relay, then the tunnels.
    pub contenders: Vec<Contender>,
    /// Tunnels that are not installed here.
    pub missing: Vec<Peer>,
    _relay: Relay,
    _tunnels: Vec<Tunnel>,
}

/// One way to the server.
#[derive(Debug, Clone)]
pub struct Contender {
    /// For tables.
    pub name: &'static str,
    /// Where a client connects.
    pub endpoint: Endpoint,
    /// The process in between, if there is one.
    pub pid: Option<i32>,
}

impl Arena {
    /// Starts all of it.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn open() -> Result<Self> {
        let authority = Authority::new("root");
        let roots_pem = authority.root_pem();
        let identity = authority.issue(&LeafSpec::client("bench"));
        let settings = ServerSettings::new(&authority)
            .handshake_first(HandshakeFirst::Auto)
            .line("allow_non_tls: true");
        let server = NatsServer::start(settings).await?;
        let config = TlsVersion::Tls13.fixed_config(&identity, &roots_pem)?;
        let mut contenders = vec![Contender {
            name: DIRECT,
            endpoint: Endpoint::tls_first(server.port(), config),
            pid: None,
        }];
        let servers = [server];
        let relay = Relay::start(&authority, &servers, |agent| agent.argument("--tls-first"));
        let relay = relay.await?;
        let [server] = servers;
        contenders.push(Contender {
            name: RELAY,
            endpoint: relay.endpoint(),
            pid: Some(relay.agent.process().pid()),
        });
        let (mut tunnels, mut missing) = (Vec::new(), Vec::new());
        let credentials = Credentials {
            identity: &identity,
            roots_pem: &roots_pem,
        };
        for peer in Peer::ALL {
            let Some(binary) = peer.binary() else {
                missing.push(peer);
                continue;
            };
            let tunnel = Tunnel::start(peer, &binary, server.port(), &credentials);
            let tunnel = tunnel.await.with_context(|| peer.name())?;
            contenders.push(Contender {
                name: peer.name(),
                endpoint: tunnel.endpoint(),
                pid: Some(tunnel.pid()),
            });
            tunnels.push(tunnel);
        }
        Ok(Self {
            server,
            contenders,
            missing,
            _relay: relay,
            _tunnels: tunnels,
        })
    }

    /// The server itself, in plain text: for the side that is not measured.
    #[must_use]
    pub fn plain(&self) -> Endpoint {
        Endpoint::plain(self.server.port())
    }

    /// The names of the contenders, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.contenders
            .iter()
            .map(|contender| contender.name)
            .collect()
    }

    /// Says which tunnels are left out.
    pub fn announce(&self) {
        for peer in &self.missing {
            println!(
                "{} is not installed, and left out: see scripts/peers",
                peer.name()
            );
        }
    }
}
