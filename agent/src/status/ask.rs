//! One HTTP question to an agent. What answers is not trusted: time and size are bounded.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::HttpUrl;
use crate::exchange::{ExchangeError, exchange};

/// From the name to the last byte.
const TIME: Duration = Duration::from_secs(5);
/// Thousands of certificates; an agent has a dozen.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("no complete answer within {0:?}")]
    TooSlow(Duration),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("it answers {0}; an agent answers 200 for /status")]
    Code(StatusCode),
    #[error("the request cannot be written: {0}")]
    Request(#[from] axum::http::Error),
}

/// The body of `/status`.
pub(super) async fn ask(url: &HttpUrl) -> Result<Bytes, AskError> {
    ask_within(url, TIME).await
}

async fn ask_within(url: &HttpUrl, time: Duration) -> Result<Bytes, AskError> {
    timeout(time, converse(url))
        .await
        .unwrap_or(Err(AskError::TooSlow(time)))
}

async fn converse(url: &HttpUrl) -> Result<Bytes, AskError> {
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(AskError::Connect)?;
    let request = Request::get("/status")
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close")
        .header(header::ACCEPT, "application/json")
        .body(Body::empty())?;
    match exchange(stream, request, BODY_BYTES).await? {
        (StatusCode::OK, body) => Ok(body),
        (code, _) => Err(AskError::Code(code)),
    }
}

#[cfg(test)]
mod tests;
