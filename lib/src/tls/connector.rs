//! For everyone who can take a fresh configuration per connection: the current snapshot, each time.

use std::io;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::store::{Generation, Store};

/// A tokio-rustls connector whose every connection uses the snapshot that is active when it starts.
#[derive(Clone)]
pub struct Connector {
    store: Arc<Store>,
}

impl Connector {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Makes a TLS handshake over `stream` with the active snapshot, checking the server against
    /// `server_name`. Certificate, key and roots are of one generation, which is returned.
    ///
    /// # Errors
    /// What the handshake failed with; the inner error is a [`rustls::Error`] where TLS is to blame.
    /// `NotConnected` before the first material. In TLS 1.3 a refusal of the client certificate
    /// arrives only with the first read.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream; nothing else is held.
    pub async fn connect<S>(
        &self,
        server_name: ServerName<'static>,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Generation)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let snapshot = self.store.active().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, "no material is published yet")
        })?;
        let stream = TlsConnector::from(snapshot.client_config())
            .connect(server_name, stream)
            .await?;
        Ok((stream, snapshot.generation()))
    }
}
