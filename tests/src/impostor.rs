//! A server that keeps to a script instead of the protocol.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::pki::Identity;
use crate::tls::certified_key;

/// An INFO that leads a client to TLS.
pub const INFO: &[u8] = b"INFO {\"server_id\":\"impostor\",\"version\":\"2.15.1\",\"proto\":1,\
    \"headers\":true,\"max_payload\":1048576,\"tls_required\":true}\r\n";

/// What is said to everybody who comes; then it is listened to, and nothing more is said.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// At once, in plain text.
    pub plain: Vec<u8>,
    /// Who TLS is spoken as behind that; without it there is no TLS.
    pub tls: Option<Identity>,
    /// Within TLS, once the client has said PING.
    pub inside: Vec<u8>,
}

/// Listens until the runtime ends.
pub struct Impostor {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl Impostor {
    /// With an empty script.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let impostor = Self {
            port: listener.local_addr()?.port(),
            script: Arc::default(),
        };
        let script = Arc::clone(&impostor.script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = script.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever goes away has done so for its own reasons.
                tokio::spawn(play(stream, script.clone()));
            }
        });
        Ok(impostor)
    }

    /// To everybody who comes from now on.
    pub fn plays(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// `host:port`, as errors name it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// As a server of NATS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tls://{}", self.label())
    }
}

async fn play(mut stream: TcpStream, script: Script) -> Result<()> {
    stream.write_all(&script.plain).await?;
    let Some(identity) = &script.tls else {
        return listen(stream, b"\0never").await;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let identity = rustls::sign::SingleCertAndKey::from(certified_key(identity)?);
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(identity));
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    listen(&mut stream, b"PING\r\n").await?;
    stream.write_all(&script.inside).await?;
    stream.flush().await?;
    // Until the client goes: what it has not read yet must not be lost with a reset.
    listen(stream, b"\0never").await
}

/// Until somebody says `word`.
async fn listen(mut stream: impl AsyncRead + Unpin, word: &[u8]) -> Result<()> {
    let mut heard = Vec::new();
    while memchr::memmem::find(&heard, word).is_none() {
        if stream.read_buf(&mut heard).await? == 0 {
            return Ok(());
        }
    }
    Ok(())
}
