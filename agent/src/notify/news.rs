//! What there is to tell: which set is in use now, and where it lies. Never a key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nats_mtls::Snapshot;
use nats_mtls::report::timestamp;
use serde_json::json;

/// The files that others read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) roots: PathBuf,
}

/// A generation that others may use now.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) paths: Paths,
    pub(crate) tell: Tell,
}

/// Whether somebody has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    Now,
    /// And why not.
    Nobody(&'static str),
}

/// What the processes that read a publish directory know of the set in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// There never was another: who reads there at all read this one.
    First,
    /// They have another, as far as is recorded.
    Untold,
    /// They were told before, perhaps by an earlier life of the agent.
    Told,
}

/// What is known of a generation when it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) is_rollback: bool,
    /// None without a publish directory: nothing is remembered then.
    pub(crate) known: Option<Known>,
}

/// Decides what is told. Pure.
#[derive(Debug)]
pub(crate) struct Rule {
    tells_first: bool,
    is_first: bool,
}

impl Rule {
    pub(crate) const fn new(tells_first: bool) -> Self {
        Self {
            tells_first,
            is_first: true,
        }
    }

    /// The first set of a process is taken for what the others read when they started, unless a
    /// publish directory knows better: an earlier life may have ended before it told them, or slept
    /// through a renewal.
    pub(crate) fn judge(&mut self, published: Published) -> Tell {
        let is_first = std::mem::take(&mut self.is_first);
        match published.known {
            None if published.is_rollback => Tell::Nobody(
                "it is a rollback, and the files still hold the set that was taken back; with \
                 --publish-dir others would get the older one",
            ),
            _ if is_first && self.tells_first => Tell::Now,
            None | Some(Known::First) if is_first => {
                Tell::Nobody("it is the first set since the start (--on-rotate-first)")
            }
            Some(Known::Told) => Tell::Nobody("they were told of it before"),
            _ => Tell::Now,
        }
    }
}

impl News {
    pub(crate) fn generation(&self) -> u64 {
        self.snapshot.generation().number()
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.snapshot
            .material()
            .facts()
            .leaf()
            .fingerprint_sha256
            .to_string()
    }

    /// For a program; the names are a contract.
    pub(super) fn environment(&self) -> [(&'static str, OsString); 6] {
        let not_after = timestamp(self.snapshot.material().facts().leaf().not_after);
        let Paths {
            certificate,
            key,
            roots,
        } = &self.paths;
        [
            ("NATS_MTLS_GENERATION", self.generation().to_string().into()),
            ("NATS_MTLS_FINGERPRINT_SHA256", self.fingerprint().into()),
            ("NATS_MTLS_NOT_AFTER", not_after.unwrap_or_default().into()),
            ("NATS_TLS_CERT", certificate.into()),
            ("NATS_TLS_KEY", key.into()),
            ("NATS_TLS_CA", roots.into()),
        ]
    }

    /// For a POST; the keys are a contract.
    pub(super) fn document(&self) -> serde_json::Value {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        json!({
            "event": "rotated",
            "generation": self.generation(),
            "fingerprint_sha256": self.fingerprint(),
            "not_after": timestamp(self.snapshot.material().facts().leaf().not_after),
            "files": {
                "cert": text(&self.paths.certificate),
                "key": text(&self.paths.key),
                "ca": text(&self.paths.roots),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Published = Published {
        is_rollback: false,
        known: None,
    };

    fn is_told(rule: &mut Rule, known: Option<Known>) -> bool {
        rule.judge(Published { known, ..CHANGE }) == Tell::Now
    }

    #[test]
    fn the_first_set_is_told_if_asked_for_or_if_nobody_was_told_before() {
        let first = |tells_first, known| is_told(&mut Rule::new(tells_first), known);
        assert!(!first(false, None));
        assert!(!first(false, Some(Known::First)));
        assert!(!first(false, Some(Known::Told)));
        assert!(first(false, Some(Known::Untold)));
        for known in [
            None,
            Some(Known::First),
            Some(Known::Untold),
            Some(Known::Told),
        ] {
            assert!(first(true, known), "{known:?}");
        }
    }

    #[test]
    fn every_later_set_is_told_once() {
        for (known, expected) in [
            (None, true),
            (Some(Known::First), true),
            (Some(Known::Untold), true),
            (Some(Known::Told), false),
        ] {
            let mut rule = Rule::new(false);
            rule.judge(CHANGE);
            assert_eq!(is_told(&mut rule, known), expected, "{known:?}");
        }
    }

    #[test]
    fn a_rollback_is_told_only_if_the_files_follow_it() {
        let rollback = |known| {
            let mut rule = Rule::new(true);
            rule.judge(CHANGE);
            let is_rollback = true;
            rule.judge(Published { is_rollback, known }) == Tell::Now
        };
        assert!(!rollback(None));
        assert!(rollback(Some(Known::Untold)));
    }
}
