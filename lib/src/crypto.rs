//! The crypto provider, always chosen explicitly: never rustls's process-wide default, which
//! another crate may have installed, or not.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("nats-mtls needs a crypto provider: enable the feature `aws-lc-rs` or `ring`");

/// The name of the provider, as the cargo feature is called.
pub(crate) const PROVIDER: &str = if cfg!(feature = "fips") {
    "fips"
} else if cfg!(feature = "aws-lc-rs") {
    "aws-lc-rs"
} else {
    "ring"
};

/// The provider that the cargo features select; `aws-lc-rs` wins if both are on.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}
