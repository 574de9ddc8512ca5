//! The task of one session: lets the client in, keeps bytes moving, and does what a session cannot do without I/O: dial
//! for a handover, dial again after an outage, end in good order.

mod arrival;
mod leaving;
mod moving;
mod port;
mod pump;
mod serving;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tracing::debug;

use crate::nats::Place;
use crate::relay::admission::Admission;
use crate::relay::dial::{Dialed, UpstreamStream};
use crate::relay::protocol::{Connect, InfoRewrite, ParseLimits};
use crate::relay::session::{HandoverTiming, InterestLimits, SessionSettings};
use crate::relay::shared::Shared;
use crate::tls::Wire;
use port::Port;
use pump::Patience;
use serving::Serving;

/// How long a server may still send copies after the change; 4 ms were seen.
const TAIL: Duration = Duration::from_millis(50);

/// Serves one client until either side ends.
pub(crate) async fn run(stream: TcpStream, mut admission: Admission, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let id = admission.id;
    let mut ending = admission.ending.clone();
    let arrived = tokio::select! {
        arrived = arrival::arrive(stream, &mut admission, &shared) => arrived,
        () = ending.closing() => return,
    };
    match arrived {
        Ok(Some(arrived)) => Serving::new(arrived, admission, shared).run().await,
        Ok(None) => {}
        Err(error) => debug!(session = %id, %error, "relay: the client left before it was served"),
    }
}

/// Where a session is connected.
struct Here {
    peer: SocketAddr,
    server: String,
    server_id: String,
    client_id: Option<u64>,
    info_json: Vec<u8>,
    wire: Wire,
}

impl Here {
    /// The connection's stream apart from what is known of it.
    fn of(dialed: Dialed) -> (Self, Port<UpstreamStream>) {
        let port = Port::new(dialed.stream, &dialed.unread);
        let here = Self {
            peer: dialed.peer,
            server: dialed.server,
            server_id: dialed.info.server_id,
            client_id: dialed.info.client_id,
            info_json: dialed.info_json,
            wire: dialed.wire,
        };
        (here, port)
    }

    /// For the client's own side of the process.
    fn place(&self) -> Place {
        Place {
            server: Some(self.server.clone()),
            server_id: Some(self.server_id.clone()),
            client_id: self.client_id,
        }
    }
}

fn session_settings(shared: &Shared, connect: &Connect) -> SessionSettings {
    let limits = shared.settings.limits;
    // The relay moves a client away from a lame duck by itself. Only one that it cannot move has to know.
    let lame_duck = (!connect.signed()).then_some(false);
    SessionSettings {
        parse: ParseLimits {
            control_line: limits.control_line,
            ..ParseLimits::client()
        },
        interest: InterestLimits {
            subscriptions: limits.subscriptions,
            bytes: limits.interest,
        },
        timing: HandoverTiming {
            step: shared.settings.step_limit,
            tail: TAIL,
            route: shared.settings.route_wait,
        },
        info: InfoRewrite {
            lame_duck,
            ..shared.info_rewrite()
        },
        pending_bytes: limits.buffered,
    }
}

fn patience(shared: &Shared) -> Patience {
    let limits = shared.settings.limits;
    Patience {
        stall: limits.stall,
        idle: limits.idle,
        operation: limits.operation,
        ping_interval: shared.settings.upstream.ping_interval,
        buffered: limits.buffered,
    }
}

#[cfg(test)]
mod tests;
