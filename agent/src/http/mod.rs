//! The read-only HTTP face: probes, status and metrics. HTTP/1, one request per connection.
//!
//! A hostile or slow client costs a bounded amount of memory and time: the head of a request has a
//! size and a time limit, a connection has a life span, and there is a cap on connections. Beyond
//! the cap the oldest one has to go: a crowd of slow clients must not keep a probe waiting, because
//! an orchestrator would restart us for it.
//! `axum::serve` has none of these, so hyper's connection is driven here.

mod answers;
mod exporter;
mod facts;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

pub(crate) use answers::{liveness_words, why_not_ready};
pub(crate) use exporter::Exporter;
pub(crate) use facts::Facts;

/// Bounds on what one client may cost.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// From accept to the end of the request's head.
    head: Duration,
    /// From accept to the end of the answer.
    connection: Duration,
    /// Of the request's head, in bytes; hyper's smallest.
    head_bytes: usize,
    headers: usize,
    connections: usize,
}

const LIMITS: Limits = Limits {
    head: Duration::from_secs(5),
    connection: Duration::from_secs(10),
    head_bytes: 8 * 1024,
    headers: 64,
    connections: 64,
};

/// After an accept that failed for want of file descriptors: the next would fail at once, too.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// The address cannot be served on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve HTTP on {address}: {cause}. {}", advice(.cause))]
pub(crate) struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "Something else listens there: choose another port with --http, or --http off"
        }
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need privileges: choose another port with --http"
        }
        io::ErrorKind::AddrNotAvailable => {
            "No interface of this machine has that address: choose another with --http"
        }
        _ => "Choose another address with --http, or --http off",
    }
}

/// A bound listener, not yet serving.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|cause| BindError { address, cause })?;
        Ok(Self {
            listener,
            limits: LIMITS,
        })
    }

    /// Where it listens; differs from what was asked for if that was port 0.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the future is dropped.
    pub(crate) async fn serve(self, facts: Facts, exporter: Exporter) -> Infallible {
        let router = answers::router(facts, exporter.clone());
        tokio::spawn(exporter.keep_up());
        let mut connections = VecDeque::new();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    make_room(&mut connections, self.limits.connections);
                    let connection = converse(stream, router.clone(), self.limits);
                    connections.push_back(tokio::spawn(connection));
                }
                Err(error) => {
                    warn!(%error, "cannot accept an HTTP connection");
                    sleep(AFTER_FAILED_ACCEPT).await;
                }
            }
        }
    }
}

/// Forgets what has ended; if that is not enough, ends the oldest.
fn make_room(connections: &mut VecDeque<JoinHandle<()>>, limit: usize) {
    connections.retain(|connection| !connection.is_finished());
    if connections.len() >= limit
        && let Some(oldest) = connections.pop_front()
    {
        debug!("too many HTTP clients: closing the oldest");
        oldest.abort();
    }
}

async fn converse(stream: TcpStream, router: Router, limits: Limits) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(limits.connection, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "HTTP client"),
        Err(_) => debug!("HTTP client took too long"),
    }
}

#[cfg(test)]
mod tests;
