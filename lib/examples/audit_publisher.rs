//! Publishes audit records to JetStream with acknowledgements, over rotations and restarts of the
//! server. Configured by NATS_URL, NATS_TLS_CERT, NATS_TLS_KEY and NATS_TLS_CA.
//!
//! # What the library can do here, and what it cannot
//! A rotation is a reconnect, and what core NATS had on the way is lost in any reconnect. An
//! acknowledgement of JetStream is the only proof that a record is stored; so a record that was not
//! acknowledged is sent again, with the same message id, and the server drops the second copy
//! within the stream's duplicate window. What is acknowledged is as safe as the stream's storage:
//! with files it outlives a restart, with replicas also the loss of a node, in memory neither. If
//! the server lost the stream, nothing on this side can bring back what was acknowledged; the
//! publisher makes the stream again and says so.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::env;
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Context, stream};
use nats_mtls::{CertificateManager, ConnectSettings, Files};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// For one acknowledgement. A record that is sent again is cheap; one that waits is not.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Publishes records one after the other, each until it is stored.
pub struct AuditPublisher {
    context: Context,
    stream: stream::Config,
    subject: String,
}

impl AuditPublisher {
    /// Publishes to `subject`, which `stream` must listen to. Nothing is asked of the server yet.
    #[must_use]
    pub fn new(client: async_nats::Client, stream: stream::Config, subject: &str) -> Self {
        let context = ContextBuilder::new()
            .timeout(ACKNOWLEDGED_WITHIN)
            .ack_timeout(ACKNOWLEDGED_WITHIN)
            .build(client);
        Self {
            context,
            stream,
            subject: subject.to_owned(),
        }
    }

    /// Returns once the record is stored, however often it had to be sent. `id` must differ from
    /// that of every other record, also after a restart of this process.
    ///
    /// # Cancel safety
    /// Dropped in the middle, the record may be stored or not; sending it again with the same id
    /// settles it.
    pub async fn publish(&self, id: &str, record: &str) -> Receipt {
        let mut attempts = 1;
        loop {
            let error = match self.attempt(id, record).await {
                Ok(sequence) => return Receipt { sequence, attempts },
                Err(error) => error,
            };
            tracing::info!(id, attempts, %error, "not acknowledged; sending it again");
            attempts += 1;
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn attempt(&self, id: &str, record: &str) -> Result<u64, Error> {
        let message = PublishMessage::build()
            .payload(record.to_owned().into())
            .message_id(id);
        let sent = self.context.send_publish(self.subject.clone(), message);
        match sent.await?.await {
            Ok(stored) => Ok(stored.sequence),
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                tracing::warn!(stream = self.stream.name, "the server has no such stream");
                self.context
                    .get_or_create_stream(self.stream.clone())
                    .await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The proof that a record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its number in the stream.
    pub sequence: u64,
    /// How often it was sent.
    pub attempts: u32,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let manager = CertificateManager::builder()
        .files(Files::new(
            env::var("NATS_TLS_CERT")?,
            env::var("NATS_TLS_KEY")?,
            env::var("NATS_TLS_CA")?,
        ))
        .build()
        .await?;
    let settings = ConnectSettings::new().component("audit");
    let nats = manager.connect(env::var("NATS_URL")?, settings).await?;
    let stream = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["audit.>".to_owned()],
        storage: stream::StorageType::File,
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    };
    let publisher = AuditPublisher::new(nats.client().clone(), stream, "audit.logins");
    let started = std::time::UNIX_EPOCH.elapsed()?.as_millis();
    for number in 0_u64.. {
        let id = format!("{started}-{number}");
        let receipt = publisher.publish(&id, "somebody logged in").await;
        println!("{id} is number {} of the stream", receipt.sequence);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
