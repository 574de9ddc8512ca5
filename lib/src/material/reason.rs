//! Why material was rejected, or accepted with a warning. The names are a contract: they are the
//! `reason` of `/status`, of the metric label and of `check --json`.

use std::fmt;

use crate::source::{PartKind, ReadError, ReadErrorCause};

/// Why a candidate was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A file is missing or not readable. Fix the path, the mode or the mount.
    ReadError,
    /// A file is larger than the cap. Nothing that large is a certificate set.
    TooLarge,
    /// A path names a directory, FIFO, socket or device.
    NotAFile,
    /// The set kept changing while it was read.
    Unstable,
    /// Not PEM, or a PEM block that does not decode. DER must be converted.
    BadPem,
    /// No certificate in the certificate file.
    NoCertificate,
    /// No private key where one was expected.
    NoPrivateKey,
    /// An encrypted key, more than one key, or an algorithm the crypto provider does not sign with.
    UnsupportedKey,
    /// A certificate of the own chain that is not valid X.509.
    BadCertificate,
    /// Certificate and private key do not belong together.
    KeyMismatch,
    /// A certificate of the own chain has expired.
    Expired,
    /// A certificate of the own chain is not valid yet, beyond the allowed clock skew.
    NotYetValid,
    /// The key usage or an extended key usage of the own chain does not allow what the policy asks
    /// for: client or server authentication.
    WrongUsage,
    /// An RSA key of the own chain is shorter than the policy allows.
    WeakKey,
    /// A certificate of the own chain is signed with SHA-1 or MD5.
    WeakSignature,
    /// The leaf is not first, a certificate does not belong to the chain, or the chain does not
    /// lead to the configured issuer bundle.
    BrokenChain,
    /// No root in the CA file.
    EmptyRoots,
    /// A root that is not valid X.509; named by its index.
    BadRoot,
    /// A revocation list that does not parse.
    BadCrl,
    /// The names that NATS maps to a user changed, and the policy refuses that.
    IdentityChanged,
    /// The server refused the candidate in a preflight.
    ServerRefused,
    /// The server's own certificate is not trusted by the candidate's roots, names or CRLs.
    ServerUntrusted,
    /// Connections could not come up on this very set before; it waits for an accepted preflight.
    RolledBack,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 23] = [
        Self::ReadError,
        Self::TooLarge,
        Self::NotAFile,
        Self::Unstable,
        Self::BadPem,
        Self::NoCertificate,
        Self::NoPrivateKey,
        Self::UnsupportedKey,
        Self::BadCertificate,
        Self::KeyMismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongUsage,
        Self::WeakKey,
        Self::WeakSignature,
        Self::BrokenChain,
        Self::EmptyRoots,
        Self::BadRoot,
        Self::BadCrl,
        Self::IdentityChanged,
        Self::ServerRefused,
        Self::ServerUntrusted,
        Self::RolledBack,
    ];

    /// The name in status, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadError => "read_error",
            Self::TooLarge => "too_large",
            Self::NotAFile => "not_a_file",
            Self::Unstable => "unstable",
            Self::BadPem => "bad_pem",
            Self::NoCertificate => "no_certificate",
            Self::NoPrivateKey => "no_private_key",
            Self::UnsupportedKey => "unsupported_key",
            Self::BadCertificate => "bad_certificate",
            Self::KeyMismatch => "key_mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongUsage => "wrong_usage",
            Self::WeakKey => "weak_key",
            Self::WeakSignature => "weak_signature",
            Self::BrokenChain => "broken_chain",
            Self::EmptyRoots => "empty_roots",
            Self::BadRoot => "bad_root",
            Self::BadCrl => "bad_crl",
            Self::IdentityChanged => "identity_changed",
            Self::ServerRefused => "server_refused",
            Self::ServerUntrusted => "server_untrusted",
            Self::RolledBack => "rolled_back",
        }
    }

    /// What the operator does about it, in one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ReadError => "Check that the path exists and that this user may read it.",
            Self::TooLarge => "Point the path at a certificate file; nothing that large is one.",
            Self::NotAFile => "Point the path at a regular file.",
            Self::Unstable => {
                "Something rewrites the files all the time; write new files and rename them into place."
            }
            Self::BadPem => {
                "Provide PEM (convert DER with `openssl x509 -inform der`), written completely."
            }
            Self::NoCertificate => "Put the certificate chain into the file, leaf first.",
            Self::NoPrivateKey => {
                "Name the key file, or put exactly one private key into the certificate file."
            }
            Self::UnsupportedKey => {
                "Provide exactly one unencrypted PKCS#8, PKCS#1 or SEC1 private key (ECDSA, Ed25519 or RSA)."
            }
            Self::BadCertificate => {
                "Ask the issuer for the certificate again; this one is damaged."
            }
            Self::KeyMismatch => {
                "Provide the private key that belongs to the certificate; renew both together."
            }
            Self::Expired => "Renew the certificate; check the clock of this machine.",
            Self::NotYetValid => {
                "Wait until it is valid, or check the clocks of this machine and of the issuer."
            }
            Self::WrongUsage => {
                "Issue the certificate with the usage that is missing: clientAuth for a client, serverAuth for a server."
            }
            Self::WeakKey => {
                "Issue the certificate with a stronger key (ECDSA P-256, RSA 2048 or more)."
            }
            Self::WeakSignature => "Have the certificate signed with SHA-256 or better.",
            Self::BrokenChain => {
                "Write the leaf first, then its intermediates, and nothing that does not belong to them."
            }
            Self::EmptyRoots => "Put at least one CA certificate into the CA file.",
            Self::BadRoot => "Remove or repair the damaged certificate in the CA file.",
            Self::BadCrl => "Fetch the revocation list again; this one is damaged.",
            Self::IdentityChanged => {
                "Issue the certificate with the same names, or allow the change with the identity policy."
            }
            Self::ServerRefused => {
                "Check which CA and which users the server accepts; a running agent asks again by itself."
            }
            Self::ServerUntrusted => {
                "Keep every root that the server's certificate needs in the CA file, and name the server as its certificate does."
            }
            Self::RolledBack => {
                "Check the server's log; the set is used again as soon as a preflight accepts it."
            }
        }
    }

    /// Whether a half-finished write may look like this, so that it deserves patience before it
    /// is called an error.
    pub(crate) const fn may_be_torn(self) -> bool {
        matches!(
            self,
            Self::ReadError
                | Self::NotAFile
                | Self::Unstable
                | Self::BadPem
                | Self::NoCertificate
                | Self::NoPrivateKey
                | Self::UnsupportedKey
                | Self::BadCertificate
                | Self::KeyMismatch
                | Self::BrokenChain
                | Self::EmptyRoots
                | Self::BadRoot
                | Self::BadCrl
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A candidate was not accepted: why, and which file and field to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// The closed set of reasons.
    pub reason: Reason,
    /// The part that is wrong; none when the server said no.
    pub part: Option<PartKind>,
    /// Names file, position and field; never holds key bytes.
    pub detail: String,
}

impl Rejection {
    /// A rejection because of one part of the set.
    pub(crate) fn of(part: PartKind, reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            part: Some(part),
            detail: detail.into(),
        }
    }

    /// A rejection by a gate, not by the content.
    pub(crate) fn by_server(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            part: None,
            detail: detail.into(),
        }
    }
}

impl From<ReadError> for Rejection {
    fn from(error: ReadError) -> Self {
        let reason = match error.cause {
            ReadErrorCause::Io(_) => Reason::ReadError,
            ReadErrorCause::TooLarge { .. } => Reason::TooLarge,
            ReadErrorCause::NotAFile { .. } => Reason::NotAFile,
            ReadErrorCause::Unstable { .. } => Reason::Unstable,
        };
        Self::of(error.part, reason, error.to_string())
    }
}

/// Accepted, but somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Warning {
    /// The new chain ends before the one it replaces.
    EarlierExpiry,
    /// The names that NATS maps to a user changed.
    IdentityChanged,
    /// The public key changed: `pinned_certs` on the server would no longer match.
    KeyChanged,
    /// Intermediates are not in the order leaf to root.
    IntermediateOrder,
    /// A root in the CA file has expired.
    ExpiredRoot,
    /// A revocation list is past its next update.
    ExpiredCrl,
    /// A file can never change because it is a mount point of its own.
    PinnedMount,
    /// Both the active and the new certificate have expired by the local clock; the later one is
    /// used because the clock may be wrong.
    LocalClock,
    /// The files had nothing acceptable at the start: what is active is the last good set that was
    /// kept from before.
    Restored,
}

impl Warning {
    /// The name in status and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EarlierExpiry => "earlier_expiry",
            Self::IdentityChanged => "identity_changed",
            Self::KeyChanged => "key_changed",
            Self::IntermediateOrder => "intermediate_order",
            Self::ExpiredRoot => "expired_root",
            Self::ExpiredCrl => "expired_crl",
            Self::PinnedMount => "pinned_mount",
            Self::LocalClock => "local_clock",
            Self::Restored => "restored",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
