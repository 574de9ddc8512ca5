//! Where material comes from: one coherent read of the whole set, and word that it may have
//! changed.
//!
//! Owns bytes and their provenance. Must not interpret them: that is `material`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::SigningKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

mod files;
mod mounts;
mod open;
mod pace;
mod push;
mod read;
#[cfg(test)]
mod scenarios;
mod trail;
mod watch;

pub use files::{Files, FilesSource};
pub use push::{PushSource, Pusher, push_source};

pub(crate) use open::read_file as read_regular_file;

/// A boxed future, so that [`Source`] can be a trait object.
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that material comes from: files, or anything that pushes (Vault, SPIFFE, a test).
///
/// The manager reads once at the start, after every [`Source::changed`], at every poll interval
/// and on `reload()`. A source never judges what it reads.
pub trait Source: Send + 'static {
    /// Reads the whole set coherently: every part of the answer belongs to the same moment.
    ///
    /// # Errors
    /// [`ReadError`] when a part cannot be read, is too large, is not a regular file, or keeps
    /// changing while it is read.
    ///
    /// # Cancel safety
    /// Must be cancel safe: a dropped read leaves no state behind.
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>>;

    /// Resolves when the set may have changed. Spurious wake-ups are allowed, lost changes are
    /// not harmful (the manager also polls) but slow.
    ///
    /// # Cancel safety
    /// Must be cancel safe: a change that was noticed but not delivered is delivered by the next call.
    fn changed(&mut self) -> SourceFuture<'_, ()>;

    /// How changes are noticed, for the status.
    fn watcher_mode(&self) -> WatcherMode;

    /// Standing conditions that a person should know, for example a file that can never change
    /// because it is a mount point of its own. Asked after each read.
    fn warnings(&self) -> Vec<SourceWarning> {
        Vec::new()
    }
}

/// How a source notices changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatcherMode {
    /// The kernel or the pusher says so, at once; polling is only the backstop.
    Notified,
    /// Polling alone, because watching is unsupported or exhausted.
    Poll,
}

impl WatcherMode {
    /// The name in `/status` and in the metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notified => "inotify",
            Self::Poll => "poll",
        }
    }
}

/// A standing condition of a source; see [`Source::warnings`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceWarning {
    /// The file itself is a mount point (Kubernetes `subPath`, single-file bind mount): renewals
    /// on the host never arrive. Mount the directory instead.
    #[error(
        "{path} is a mount point of its own (subPath or single-file bind mount): a renewed file \
         never arrives there; mount its directory instead"
    )]
    PinnedMount {
        /// The file that is a mount point.
        path: String,
    },
}

/// Which part of the set: named in every error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PartKind {
    /// The certificate chain, leaf first.
    Certificate,
    /// The private key.
    Key,
    /// The CA roots that the server is checked against.
    Roots,
    /// Certificate revocation lists for the server's certificate.
    Crls,
    /// The bundle that the own chain must lead to.
    Issuer,
}

impl PartKind {
    /// The word used for the part in messages and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Roots => "ca",
            Self::Crls => "crl",
            Self::Issuer => "issuer",
        }
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bytes of one part and where they came from. Zeroised on drop, never printed.
pub struct RawPart {
    /// A path or another name a person can find the part by.
    pub origin: String,
    /// The bytes as they were read.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl RawPart {
    /// A part read from `origin`.
    #[must_use]
    pub fn new(origin: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            origin: origin.into(),
            bytes: Zeroizing::new(bytes.into()),
        }
    }
}

impl fmt::Debug for RawPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPart")
            .field("origin", &self.origin)
            .field("length", &self.bytes.len())
            .finish()
    }
}

/// Where the private key is.
#[derive(Debug)]
#[non_exhaustive]
pub enum RawKey {
    /// A PEM part of its own.
    Pem(RawPart),
    /// In the certificate part (combined PEM, in any order).
    InCertificate,
    /// Outside this process's reach: an HSM, a signing service, a TPM.
    Signer(Arc<dyn SigningKey>),
}

/// One coherent set, not yet judged.
#[derive(Debug)]
pub struct RawMaterial {
    /// The certificate chain, leaf first, PEM; may also hold the key.
    pub certificate: RawPart,
    /// The private key.
    pub key: RawKey,
    /// The CA roots, PEM.
    pub roots: RawPart,
    /// Certificate revocation lists, PEM, if any.
    pub crls: Option<RawPart>,
    /// The bundle the own chain must lead to, PEM, if configured.
    pub issuer: Option<RawPart>,
}

impl RawMaterial {
    /// A digest of every byte, to see whether anything changed at all. Says nothing about meaning.
    pub(crate) fn digest(&self) -> RawDigest {
        let mut hasher = Sha256::new();
        let mut add = |part: Option<&RawPart>| {
            let bytes = part.map_or(&[][..], |part| &part.bytes);
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        add(Some(&self.certificate));
        add(match &self.key {
            RawKey::Pem(part) => Some(part),
            RawKey::InCertificate | RawKey::Signer(_) => None,
        });
        add(Some(&self.roots));
        add(self.crls.as_ref());
        add(self.issuer.as_ref());
        RawDigest(hasher.finalize().into())
    }
}

/// See [`RawMaterial::digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RawDigest([u8; 32]);

/// Why a set could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} {origin}: {cause}")]
pub struct ReadError {
    /// The part that failed.
    pub part: PartKind,
    /// Its path or other name.
    pub origin: String,
    /// What went wrong.
    pub cause: ReadErrorCause,
}

impl ReadError {
    /// The source as a whole did not answer.
    pub(crate) fn late(limit: Duration) -> Self {
        Self {
            part: PartKind::Certificate,
            origin: "the source".to_owned(),
            cause: ReadErrorCause::Io(format!("no answer within {limit:?}; a hung mount?")),
        }
    }
}

/// What went wrong with one part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadErrorCause {
    /// The operating system refused: missing, not permitted, a symlink loop. Fix path or mode.
    #[error("cannot be read: {0}")]
    Io(String),
    /// More bytes than the limit. Nothing that large is a certificate set.
    #[error("is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A directory, FIFO, socket or device.
    #[error("is {found}, not a regular file")]
    NotAFile {
        /// What it is instead.
        found: &'static str,
    },
    /// It kept changing while it was read; read again later.
    #[error("kept changing during {attempts} reads")]
    Unstable {
        /// How often it was read.
        attempts: u32,
    },
}
