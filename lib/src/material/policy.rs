//! What is demanded of material beyond being well-formed. Owns the choices and their defaults;
//! must not look at certificates itself.

use std::time::Duration;

/// What to do when the names that NATS maps to a user change from one set to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum IdentityChange {
    /// Say nothing.
    Allow,
    /// Accept, with [`Warning::IdentityChanged`](super::Warning::IdentityChanged).
    #[default]
    Warn,
    /// Reject with [`Reason::IdentityChanged`](super::Reason::IdentityChanged).
    Refuse,
}

impl IdentityChange {
    /// The name in flags and documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

/// Which side of a handshake the own certificate is for (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Usage {
    /// `clientAuth`.
    #[default]
    Client,
    /// `serverAuth`.
    Server,
}

impl Usage {
    /// The name of the extended key usage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "clientAuth",
            Self::Server => "serverAuth",
        }
    }
}

/// The rules that material is judged by.
///
/// ```
/// use nats_mtls::material::{IdentityChange, Policy};
/// let policy = Policy::default().identity_change(IdentityChange::Refuse);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(super) clock_skew: Duration,
    pub(super) minimum_rsa_bits: u32,
    pub(super) identity_change: IdentityChange,
    pub(super) crl_strict: bool,
    pub(super) usage: Usage,
}

impl Default for Policy {
    /// 60 s of clock skew, RSA of at least 2048 bits, a changed identity warns, unknown revocation
    /// status and expired revocation lists are allowed, for client authentication.
    fn default() -> Self {
        Self {
            clock_skew: Duration::from_secs(60),
            minimum_rsa_bits: 2048,
            identity_change: IdentityChange::default(),
            crl_strict: false,
            usage: Usage::default(),
        }
    }
}

impl Policy {
    /// How far in the future a `notBefore` may lie. Default: 60 seconds.
    ///
    /// Applies to the beginning only: an issuer whose clock is a little ahead writes certificates
    /// that are not valid yet for a moment, while servers tolerate it or soon will. At the end
    /// there is nothing to tolerate: a server does not accept an expired certificate because our
    /// clock may be wrong.
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// The shortest RSA modulus in the own chain, in bits. Default: 2048 (NIST SP 800-57, part 1).
    ///
    /// A lower number does not help further than the crypto provider signs, which is 2048 as well.
    #[must_use]
    pub fn minimum_rsa_bits(mut self, bits: u32) -> Self {
        self.minimum_rsa_bits = bits;
        self
    }

    /// What a change of the names that NATS maps to a user means. Default: warn.
    #[must_use]
    pub fn identity_change(mut self, rule: IdentityChange) -> Self {
        self.identity_change = rule;
        self
    }

    /// Whether the server's chain must be covered by current revocation lists. Default: no.
    ///
    /// If not, a certificate that no list speaks about passes, and an expired list still counts
    /// (with a warning). Has no effect if no lists are configured.
    #[must_use]
    pub fn crl_strict(mut self, strict: bool) -> Self {
        self.crl_strict = strict;
        self
    }

    /// What the own certificate must be good for. Default: client authentication.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }
}
