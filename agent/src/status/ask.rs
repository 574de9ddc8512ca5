//! One HTTP question to an agent. What answers is not trusted: time, head and body are bounded, and
//! no redirect is followed.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::AgentUrl;

/// From the name to the last byte.
const TIME: Duration = Duration::from_secs(5);
/// Hyper's smallest; an agent's answer has four headers.
const HEAD_BYTES: usize = 8 * 1024;
const HEADERS: usize = 64;
/// Thousands of certificates; an agent has a dozen.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("no complete answer within {0:?}")]
    TooSlow(Duration),
    #[error("the answer is not HTTP as an agent speaks it: {}", causes(.0))]
    Http(#[from] hyper::Error),
    #[error("it answers {0}; an agent answers 200 for /status")]
    Code(StatusCode),
    #[error("the answer is larger than {BODY_BYTES} bytes, or breaks off: {}", causes(.0))]
    Body(axum::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] axum::http::Error),
}

/// The body of `/status`.
pub(super) async fn ask(url: &AgentUrl) -> Result<Bytes, AskError> {
    ask_within(url, TIME).await
}

async fn ask_within(url: &AgentUrl, time: Duration) -> Result<Bytes, AskError> {
    timeout(time, converse(url))
        .await
        .unwrap_or(Err(AskError::TooSlow(time)))
}

async fn converse(url: &AgentUrl) -> Result<Bytes, AskError> {
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(AskError::Connect)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    let request = Request::get("/status")
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close")
        .header(header::ACCEPT, "application/json")
        .body(Body::empty())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Code(answer.status()));
        }
        to_bytes(Body::new(answer.into_body()), BODY_BYTES)
            .await
            .map_err(AskError::Body)
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end before the last of the answer was taken out of it.
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}

/// hyper tells only the outermost.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
