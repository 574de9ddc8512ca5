//! A server that a client dies of. async-nats, told never to give up, gives up all the same when
//! its connection task panics; 0.51 does on a message of absurd length. Nothing milder closes a
//! connection for good that its owner did not end.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::{Authority, LeafSpec};
use crate::tls::certified_key;

/// Larger than any memory, and so that the sum of it and the line overflows in every build.
const ABSURD: &[u8] = b"MSG a 1 18446744073709551610\r\n";
const INFO: &[u8] =
    b"INFO {\"server_id\":\"fatal\",\"version\":\"2.15.1\",\"host\":\"127.0.0.1\",\"port\":4222,\
    \"max_payload\":1048576,\"proto\":1,\"headers\":true,\"tls_required\":true}\r\n";

/// Speaks TLS first and as much NATS as a client needs to be connected.
pub struct FatalServer {
    port: u16,
    strike: Arc<Notify>,
}

impl FatalServer {
    /// Accepts clients from now on.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(authority: &Authority) -> Result<Self> {
        let acceptor = acceptor(authority)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let strike = Arc::new(Notify::new());
        let struck = Arc::clone(&strike);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, struck) = (acceptor.clone(), Arc::clone(&struck));
                // A client that goes away has done so for its own reasons.
                tokio::spawn(async move { serve(stream, acceptor, &struck).await.ok() });
            }
        });
        Ok(Self { port, strike })
    }

    /// For a client that starts with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    /// Welcomes one client, is gone with its first PONG, and is never back. Its URL.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn fleeting(authority: &Authority) -> Result<String> {
        let acceptor = acceptor(authority)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("tls://{}", listener.local_addr()?);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            drop(listener);
            welcome(acceptor.accept(stream).await?).await
        });
        Ok(url)
    }

    /// Kills the client that connected first.
    pub fn strike(&self) {
        self.strike.notify_one();
    }
}

fn acceptor(authority: &Authority) -> Result<TlsAcceptor> {
    let identity = certified_key(&authority.issue(&LeafSpec::server()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// As much NATS as `connect` of a client waits for.
async fn welcome(stream: TlsStream<TcpStream>) -> Result<()> {
    let mut stream = BufStream::new(stream);
    stream.write_all(INFO).await?;
    stream.flush().await?;
    let mut line = String::new();
    while !line.starts_with("PING") {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b"PONG\r\n").await?;
    Ok(stream.shutdown().await?)
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, struck: &Notify) -> Result<()> {
    let mut stream = BufStream::new(acceptor.accept(stream).await?);
    stream.write_all(INFO).await?;
    stream.flush().await?;
    let mut line = String::new();
    loop {
        line.clear();
        tokio::select! {
            read = stream.read_line(&mut line) => {
                if read.context("the client")? == 0 {
                    return Ok(());
                }
                if line.starts_with("PING") {
                    stream.write_all(b"PONG\r\n").await?;
                    stream.flush().await?;
                }
            }
            () = struck.notified() => {
                stream.write_all(ABSURD).await?;
                stream.flush().await?;
            }
        }
    }
}
