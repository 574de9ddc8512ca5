//! One HTTP/1 question and its answer over a stream that is there. What answers is not trusted:
//! head and body are bounded, and no redirect is followed. Time is the caller's to bound.

use std::error::Error;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Hyper's smallest.
const HEAD_BYTES: usize = 8 * 1024;
const HEADERS: usize = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The other side does not speak HTTP, or hung up.
    #[error("the answer is not HTTP as it should be: {}", causes(.0))]
    Http(#[from] hyper::Error),
    /// More than anybody needs, or cut off.
    #[error("the answer is larger than {limit} bytes, or breaks off: {}", causes(.cause))]
    Body { limit: usize, cause: axum::Error },
}

/// Sends the request; the code of the answer, and its body if that is not longer than `limit`.
pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Body>,
    limit: usize,
) -> Result<(StatusCode, Bytes), ExchangeError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let code = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), limit).await;
        let body = body.map_err(|cause| ExchangeError::Body { limit, cause })?;
        Ok((code, body))
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
