//! Material that is pushed into the process (Vault, SPIFFE, a test) instead of read from files.
//!
//! Keeps the last set that was pushed, so that it can be read again at every poll. Judges nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{
    PartKind, RawKey, RawMaterial, RawPart, ReadError, ReadErrorCause, Source, SourceFuture,
    WatcherMode,
};

/// A source that answers with what its [`Pusher`] pushed last.
///
/// ```
/// use nats_mtls::source::{RawKey, RawMaterial, RawPart, push_source};
///
/// let (pusher, source) = push_source();
/// pusher.push(RawMaterial {
///     certificate: RawPart::new("vault pki/issue/orders", "-----BEGIN CERTIFICATE-----…"),
///     key: RawKey::InCertificate,
///     roots: RawPart::new("vault pki/ca", "-----BEGIN CERTIFICATE-----…"),
///     crls: None,
///     issuer: None,
/// });
/// # drop(source);
/// ```
#[must_use]
pub fn push_source() -> (Pusher, PushSource) {
    let shared = Arc::new(Shared::default());
    let pusher = Pusher {
        shared: Arc::clone(&shared),
    };
    (pusher, PushSource { shared })
}

/// The end that material is pushed into. When the last one is dropped, the source keeps answering
/// with what was pushed last.
#[derive(Debug, Clone)]
pub struct Pusher {
    shared: Arc<Shared>,
}

impl Pusher {
    /// Replaces the set and wakes the reader. Never blocks; of several sets pushed before the
    /// next read only the last is seen. A set that is bad is rejected by the reader, which keeps
    /// the last good one.
    pub fn push(&self, material: RawMaterial) {
        let former = self.shared.lock().replace(material);
        self.shared.pushed.notify_one();
        // Zeroising the former set needs no lock.
        drop(former);
    }
}

/// The end that is read; see [`push_source`].
#[derive(Debug)]
pub struct PushSource {
    shared: Arc<Shared>,
}

impl Source for PushSource {
    fn read(&mut self) -> SourceFuture<'_, Result<RawMaterial, ReadError>> {
        let answer = self.shared.lock().as_ref().map(copy);
        Box::pin(std::future::ready(answer.ok_or_else(nothing_yet)))
    }

    fn changed(&mut self) -> SourceFuture<'_, ()> {
        Box::pin(self.shared.pushed.notified())
    }

    fn watcher_mode(&self) -> WatcherMode {
        WatcherMode::Notified
    }
}

#[derive(Debug, Default)]
struct Shared {
    material: Mutex<Option<RawMaterial>>,
    pushed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<RawMaterial>> {
        // Nothing that can panic happens under the lock.
        self.material.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nothing_yet() -> ReadError {
    ReadError {
        part: PartKind::Certificate,
        origin: "pushed material".to_owned(),
        cause: ReadErrorCause::Io("nothing was pushed yet".to_owned()),
    }
}

/// Key material has no `Clone`; reading it again is the one place that needs a copy.
fn copy(material: &RawMaterial) -> RawMaterial {
    RawMaterial {
        certificate: copy_part(&material.certificate),
        key: match &material.key {
            RawKey::Pem(part) => RawKey::Pem(copy_part(part)),
            RawKey::InCertificate => RawKey::InCertificate,
            RawKey::Signer(signer) => RawKey::Signer(Arc::clone(signer)),
        },
        roots: copy_part(&material.roots),
        crls: material.crls.as_ref().map(copy_part),
        issuer: material.issuer.as_ref().map(copy_part),
    }
}

fn copy_part(part: &RawPart) -> RawPart {
    RawPart {
        origin: part.origin.clone(),
        bytes: Zeroizing::new(part.bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::SignatureScheme;
    use rustls::sign::{Signer, SigningKey};

    use super::*;

    fn material(text: &str, key: RawKey) -> RawMaterial {
        RawMaterial {
            certificate: RawPart::new("certificate", text),
            key,
            roots: RawPart::new("roots", text),
            crls: Some(RawPart::new("crls", text)),
            issuer: None,
        }
    }

    async fn woken(source: &mut PushSource) -> bool {
        tokio::time::timeout(Duration::from_secs(5), source.changed())
            .await
            .is_ok()
    }

    #[derive(Debug)]
    struct Elsewhere;

    impl SigningKey for Elsewhere {
        fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            None
        }

        fn algorithm(&self) -> rustls::SignatureAlgorithm {
            rustls::SignatureAlgorithm::ECDSA
        }
    }

    #[tokio::test]
    async fn before_the_first_push_the_error_says_so() {
        let (_pusher, mut source) = push_source();
        let error = source.read().await.unwrap_err();
        assert!(
            error.to_string().contains("nothing was pushed yet"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_last_push_is_read_as_often_as_wanted() {
        let (pusher, mut source) = push_source();
        pusher.push(material("one", RawKey::InCertificate));
        pusher.push(material("two", RawKey::Pem(RawPart::new("key", "two"))));
        drop(pusher);
        let first = source.read().await.unwrap();
        assert_eq!(first.certificate.bytes.as_slice(), b"two");
        assert!(matches!(&first.key, RawKey::Pem(part) if part.bytes.as_slice() == b"two"));
        assert_eq!(first.digest(), source.read().await.unwrap().digest());
    }

    #[tokio::test]
    async fn a_signer_stays_the_same_object() {
        let (pusher, mut source) = push_source();
        let signer: Arc<dyn SigningKey> = Arc::new(Elsewhere);
        pusher.push(material("one", RawKey::Signer(Arc::clone(&signer))));
        for _ in 0..2 {
            let key = source.read().await.unwrap().key;
            assert!(matches!(key, RawKey::Signer(same) if Arc::ptr_eq(&same, &signer)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_push_wakes_once_and_a_dropped_wait_loses_nothing() {
        let (pusher, mut source) = push_source();
        assert!(!woken(&mut source).await);
        {
            let mut waiting = source.changed();
            assert!(futures_util::poll!(&mut waiting).is_pending());
            pusher.push(material("one", RawKey::InCertificate));
            // Dropped although the wake-up was already on its way to it.
        }
        assert!(woken(&mut source).await);
        pusher.push(material("two", RawKey::InCertificate));
        pusher.push(material("three", RawKey::InCertificate));
        assert!(woken(&mut source).await);
        assert!(!woken(&mut source).await);
    }
}
