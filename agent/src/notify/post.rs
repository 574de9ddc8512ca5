//! A small JSON document, POSTed: plain on loopback, else over TLS with the very set that is told.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::news::News;
use crate::config::{HookUrl, PostConfig};
use crate::exchange::{ExchangeError, exchange};

#[cfg(test)]
mod tests;

/// Whatever it answers beside the code is only read to be polite.
const BODY_BYTES: usize = 64 * 1024;

/// Why the POST failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("cannot connect to {url}: {cause}")]
    Connect { url: HookUrl, cause: io::Error },
    #[error(
        "{url} is not on this machine after all, but on {address}: plain HTTP stays on loopback"
    )]
    NotLoopback {
        url: HookUrl,
        address: std::net::IpAddr,
    },
    #[error("no TLS with {url}: {cause}. Its certificate must be of --ca")]
    Tls { url: HookUrl, cause: io::Error },
    #[error("{url}: {cause}")]
    Exchange { url: HookUrl, cause: ExchangeError },
    /// Nothing of the body: many a framework repeats the path and the query in it, where a token is.
    #[error("{url} answers {code}")]
    Code { url: HookUrl, code: StatusCode },
    #[error("{url} did not answer within {limit:?} (--on-rotate-timeout)")]
    TooSlow { url: HookUrl, limit: Duration },
    #[error("the request cannot be written: {0}")]
    Request(#[from] axum::http::Error),
}

/// POSTs to one URL.
#[derive(Debug)]
pub(super) struct PostHook {
    config: PostConfig,
}

impl PostHook {
    pub(super) const fn new(config: PostConfig) -> Self {
        Self { config }
    }

    /// For the status and the log.
    pub(super) fn target(&self) -> String {
        format!("POST to {}", self.config.url)
    }

    pub(super) async fn run(&self, news: &News) -> Result<String, PostError> {
        let PostConfig { url, limit } = &self.config;
        let code = timeout(*limit, post(url, news)).await.unwrap_or_else(|_| {
            Err(PostError::TooSlow {
                url: url.clone(),
                limit: *limit,
            })
        })?;
        Ok(format!("{url} answered {code}"))
    }
}

async fn post(url: &HookUrl, news: &News) -> Result<StatusCode, PostError> {
    let connect = |cause| PostError::Connect {
        url: url.clone(),
        cause,
    };
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(connect)?;
    let request = Request::post(url.path())
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(news.document().to_string()))?;
    let answer = if url.is_tls {
        let tls = |cause| PostError::Tls {
            url: url.clone(),
            cause,
        };
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|error| tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connector = TlsConnector::from(news.snapshot.client_config());
        let stream = connector.connect(name, stream).await.map_err(tls)?;
        exchange(stream, request, BODY_BYTES).await
    } else {
        // `localhost` is what the resolver makes of it.
        let address = stream.peer_addr().map_err(connect)?.ip();
        if !address.is_loopback() {
            return Err(PostError::NotLoopback {
                url: url.clone(),
                address,
            });
        }
        exchange(stream, request, BODY_BYTES).await
    };
    match answer {
        Ok((code, _)) if code.is_success() => Ok(code),
        Ok((code, _)) => Err(PostError::Code {
            url: url.clone(),
            code,
        }),
        Err(cause) => Err(PostError::Exchange {
            url: url.clone(),
            cause,
        }),
    }
}
