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

/// What is known of a generation when it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) is_rollback: bool,
    /// Whether it took the place of another set in the directory that others read; none without
    /// such a directory.
    pub(crate) replaced: Option<bool>,
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

    /// The first set of a process is what the others have read already when they started, unless it
    /// replaced another in the directory: then the agent slept through a renewal.
    pub(crate) fn judge(&mut self, published: Published) -> Tell {
        let is_first = std::mem::take(&mut self.is_first);
        if published.is_rollback && published.replaced.is_none() {
            return Tell::Nobody(
                "it is a rollback, and the files still hold the set that was taken back; with \
                 --publish-dir others would get the older one",
            );
        }
        if is_first && !self.tells_first && published.replaced != Some(true) {
            return Tell::Nobody("it is the first set since the start (--on-rotate-first)");
        }
        Tell::Now
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
        replaced: None,
    };

    fn judge(rule: &mut Rule, published: Published) -> bool {
        rule.judge(published) == Tell::Now
    }

    #[test]
    fn the_first_set_is_told_if_asked_for_or_if_it_replaced_another() {
        let first = |tells_first, replaced| {
            judge(
                &mut Rule::new(tells_first),
                Published { replaced, ..CHANGE },
            )
        };
        assert!(!first(false, None));
        assert!(!first(false, Some(false)));
        assert!(first(false, Some(true)));
        assert!(first(true, None));
        assert!(first(true, Some(false)));
    }

    #[test]
    fn every_later_set_is_told() {
        for replaced in [None, Some(true), Some(false)] {
            let mut rule = Rule::new(false);
            rule.judge(CHANGE);
            assert!(judge(&mut rule, Published { replaced, ..CHANGE }));
        }
    }

    #[test]
    fn a_rollback_is_told_only_if_the_files_follow_it() {
        let rollback = |replaced| {
            let mut rule = Rule::new(true);
            rule.judge(CHANGE);
            let is_rollback = true;
            judge(
                &mut rule,
                Published {
                    is_rollback,
                    replaced,
                },
            )
        };
        assert!(!rollback(None));
        assert!(rollback(Some(true)));
    }
}
