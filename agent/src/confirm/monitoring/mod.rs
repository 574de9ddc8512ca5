//! Asks nats-server's monitoring: which certificate connections present, and on which port a server
//! listens. What answers is not trusted: time, size and number of the answers are bounded.

mod connz;
mod pages;

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(super) use connz::Known;

use super::verdict::Answer;
use crate::config::{Address, HttpUrl};
use crate::exchange::exchange;
use connz::{Connz, Tally};
use pages::Walk;

/// A full page leaves 8 KiB for a connection: far more than one with a long chain and a JWT has.
const BODY_BYTES: usize = pages::PAGE * 8 * 1024;
/// One question: connect, ask, answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `/varz`, as far as it is read.
#[derive(Debug, Deserialize)]
struct Varz {
    port: u16,
}

/// Whether the server of the connection shows `fingerprint` for it. The connection is at one of
/// these servers, and each move may take it to another.
pub(super) async fn own(urls: &[HttpUrl], known: &Known, fingerprint: &str) -> Answer {
    let path = format!("/connz?auth=1&cid={}", known.client_id);
    let (mut silent, mut others) = (None, Vec::new());
    for answer in join_all(urls.iter().map(|url| connz(url, &path))).await {
        match answer {
            Err(why) => silent = silent.or(Some(why)),
            Ok(connz) if connz.is_of(known) => return connz.own(known, fingerprint),
            Ok(connz) => others.push(connz.server()),
        }
    }
    // It may be the one that does not answer.
    silent.map_or_else(|| known.is_elsewhere(&others), Answer::NotSeen)
}

/// Whether each connection of this name, and there is one, shows `fingerprint` on whichever of
/// these servers.
pub(super) async fn clients(urls: &[HttpUrl], name: &str, fingerprint: &str) -> Answer {
    let tallies = urls.iter().map(|url| tally(url, name, fingerprint));
    let tallies: Result<Vec<_>, _> = join_all(tallies).await.into_iter().collect();
    match tallies {
        Ok(tallies) => Tally::judge(tallies, name),
        Err(why) => Answer::NotSeen(why),
    }
}

async fn tally(url: &HttpUrl, name: &str, fingerprint: &str) -> Result<Tally, String> {
    let (mut tally, mut walk) = (Tally::default(), Walk::default());
    while let Some(path) = walk.path() {
        let connz = connz(url, &path).await?;
        for connection in walk.handle(&connz.connections) {
            tally.count(url, connection, name, fingerprint);
        }
    }
    if walk.is_complete() {
        Ok(tally)
    } else {
        Err(format!("{url} has too many connections to look at each"))
    }
}

async fn connz(url: &HttpUrl, path: &str) -> Result<Connz, String> {
    let body = ask(url, path).await?;
    let connz: Connz = serde_json::from_slice(&body).map_err(|_| foreign(url, "connz"))?;
    match connz.server_id {
        Some(_) => Ok(connz),
        None => Err(foreign(url, "connz")),
    }
}

/// Where the server of this monitoring listens for clients.
pub(super) async fn address(url: &HttpUrl) -> Result<Address, String> {
    let body = ask(url, "/varz").await?;
    let varz: Varz = serde_json::from_slice(&body).map_err(|_| foreign(url, "varz"))?;
    Ok(Address {
        host: url.host().to_owned(),
        port: varz.port,
    })
}

fn foreign(url: &HttpUrl, path: &str) -> String {
    format!("{url}/{path} is not nats-server's monitoring")
}

/// The time is that of one question, so that a server with many pages gets more of it.
async fn ask(url: &HttpUrl, path: &str) -> Result<Bytes, String> {
    timeout(PATIENCE, exchanged(url, path))
        .await
        .unwrap_or_else(|_| Err(format!("{url} does not answer within {PATIENCE:?}")))
}

async fn exchanged(url: &HttpUrl, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| format!("cannot connect to {url}: {error}"))?;
    let request = Request::get(path)
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close")
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    match exchange(stream, request, BODY_BYTES).await {
        Ok((StatusCode::OK, body)) => Ok(body),
        Ok((code, _)) => Err(format!("{url} answers {code}")),
        Err(error) => Err(format!("{url}: {error}")),
    }
}
