//! The flags that say where the certificate set is and what is acceptable.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Certificate set (PEM files)")]
pub(crate) struct MaterialArgs {
    /// Certificate chain, leaf first; may also hold the private key
    #[arg(
        long,
        env = "NATS_TLS_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) cert: Option<PathBuf>,
    /// Private key; leave it out if the certificate file holds it
    #[arg(
        long,
        env = "NATS_TLS_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) key: Option<PathBuf>,
    /// CA certificates that the server is checked against; the platform's roots are never used
    #[arg(long, env = "NATS_TLS_CA", hide_env_values = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Revocation lists that the server's certificate is checked against
    #[arg(
        long,
        env = "NATS_MTLS_CRL",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) crl: Option<PathBuf>,
    /// Refuse a server whose revocation status is unknown
    #[arg(
        long,
        env = "NATS_MTLS_CRL_STRICT",
        hide_env_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) crl_strict: bool,
    /// Bundle that the own certificate chain must lead to
    #[arg(
        long,
        env = "NATS_MTLS_ISSUER",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) issuer: Option<PathBuf>,
    /// Which side of a handshake the certificate is for. `server` is for the certificate of a
    /// nats-server: it must allow serverAuth, and no server is asked whether it accepts it
    #[arg(
        long,
        env = "NATS_MTLS_USAGE",
        hide_env_values = true,
        value_name = "SIDE",
        default_value = "client"
    )]
    pub(crate) usage: UsageArg,
    /// How far the clock of the issuer may be ahead of ours
    #[arg(
        long,
        env = "NATS_MTLS_CLOCK_SKEW",
        hide_env_values = true,
        value_name = "DURATION",
        default_value = "60s"
    )]
    pub(crate) clock_skew: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageArg {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdentityChangeArg {
    Allow,
    Warn,
    Refuse,
}
