//! What is asked to confirm that a rotation took.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::{ConfigError, HttpUrl, values};
use crate::args::{ConfirmArgs, UsageArg};

/// Whether the new certificate is seen where it is used.
#[derive(Debug, Clone)]
pub(crate) struct ConfirmConfig {
    pub(crate) subject: Subject,
    pub(crate) within: Duration,
}

/// Whose certificate is looked at, and how.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// The one that the agent's own connection presents, as the server's monitoring shows it.
    Connection { monitoring: HttpUrl },
    /// The one that this server presents.
    Server { address: Address },
    /// The one that the server of this monitoring presents; `/varz` says on which port.
    ServerOf { monitoring: HttpUrl },
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

const URL: &str = "--confirm-url (NATS_MTLS_CONFIRM_URL)";
const SERVER: &str = "--confirm-server (NATS_MTLS_CONFIRM_SERVER)";
const EXAMPLE_URL: &str = "--confirm-url http://127.0.0.1:8222";
const EXAMPLE_SERVER: &str = "--usage server --confirm-server 127.0.0.1:4222";

impl ConfirmConfig {
    /// None if nothing is to be confirmed.
    pub(super) fn new(
        args: &ConfirmArgs,
        usage: UsageArg,
        has_connection: bool,
    ) -> Result<Option<Self>, ConfigError> {
        let within = values::positive_duration("--confirm-within", &args.confirm_within)?;
        let monitoring = args.confirm_url.as_deref();
        let monitoring = monitoring
            .map(|text| HttpUrl::parse(URL, text, EXAMPLE_URL))
            .transpose()?;
        let address = args.confirm_server.as_deref().map(Address::parse);
        let subject = match (usage, address.transpose()?, monitoring) {
            (_, None, None) => return Ok(None),
            (UsageArg::Client, Some(_), _) => {
                return Err(ConfigError::new(
                    SERVER,
                    "is for the certificate of a server: --usage server",
                    EXAMPLE_SERVER,
                ));
            }
            (UsageArg::Client, None, Some(_)) if !has_connection => {
                return Err(ConfigError::new(
                    URL,
                    "given without --server (NATS_URL), so there is no connection to ask about",
                    "--server tls://nats.example.com:4222 --confirm-url http://nats.example.com:8222",
                ));
            }
            (UsageArg::Client, None, Some(monitoring)) => Subject::Connection { monitoring },
            (UsageArg::Server, Some(_), Some(_)) => {
                return Err(ConfigError::new(
                    SERVER,
                    "given beside --confirm-url; name the server in one way",
                    EXAMPLE_SERVER,
                ));
            }
            (UsageArg::Server, Some(address), None) => Subject::Server { address },
            (UsageArg::Server, None, Some(monitoring)) => Subject::ServerOf { monitoring },
        };
        Ok(Some(Self { subject, within }))
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| ConfigError::new(SERVER, problem, EXAMPLE_SERVER);
        // A URL may hold a password, so the text is not repeated.
        if text.contains('/') || text.contains('@') {
            return Err(wrong("is a host and a port, not a URL"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let port = port.parse().map_err(|_| wrong("has a port that is none"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let is_ipv6 = host.parse().is_ok_and(|host: IpAddr| host.is_ipv6());
        if host.is_empty() || host.contains(':') && !(is_ipv6 && bare.is_some()) {
            return Err(wrong(
                "has no host before the port, or an IPv6 address without brackets",
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("127.0.0.1:4222", "127.0.0.1", 4222),
            ("nats.example.com:1", "nats.example.com", 1),
            ("[::1]:4222", "::1", 4222),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "a",
            ":4222",
            "::1:4222",
            "[a:b",
            "a:",
            "a:65536",
            "tls://u:p@a:4222",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(
                error.flag.starts_with("--confirm-server"),
                "{text}: {error}"
            );
        }
    }
}
