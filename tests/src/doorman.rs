//! A port that hangs up on everybody, and counts: what a client claims to have tried can be checked
//! against what came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::net::TcpListener;

/// Accepts, counts, closes.
pub struct Doorman {
    port: u16,
    visits: Arc<AtomicU64>,
}

impl Doorman {
    /// From now on.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let visits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&visits);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Ok(Self { port, visits })
    }

    /// `host:port`, as errors name it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As a server of NATS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tls://{}", self.label())
    }

    /// How often somebody came.
    #[must_use]
    pub fn visits(&self) -> u64 {
        self.visits.load(Ordering::SeqCst)
    }
}
