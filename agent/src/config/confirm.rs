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
    /// The one that the agent's own connection presents, as the monitoring of the servers shows it
    /// that it may be at.
    Own { monitoring: Vec<HttpUrl> },
    /// The one that every connection of this name presents, at all of these servers.
    Clients {
        name: String,
        monitoring: Vec<HttpUrl>,
    },
    /// The one that this server presents.
    Server { address: Address },
    /// The one that the server of this monitoring presents; `/varz` says on which port.
    ServerOf { monitoring: HttpUrl },
}

impl Subject {
    /// Of the connections that are looked at, if it is by their name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Clients { name, .. } => Some(name),
            Self::Own { .. } | Self::Server { .. } | Self::ServerOf { .. } => None,
        }
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

const URL: &str = "--confirm-url (NATS_MTLS_CONFIRM_URL)";
const NAME: &str = "--confirm-name (NATS_MTLS_CONFIRM_NAME)";
const SERVER: &str = "--confirm-server (NATS_MTLS_CONFIRM_SERVER)";
const EXAMPLE_URL: &str = "--confirm-url http://127.0.0.1:8222";
const EXAMPLE_NAME: &str = "--confirm-url http://127.0.0.1:8222 --confirm-name orders";
const EXAMPLE_SERVER: &str = "--usage server --confirm-server 127.0.0.1:4222";

impl ConfirmConfig {
    /// None if nothing is to be confirmed.
    pub(super) fn new(
        args: &ConfirmArgs,
        usage: UsageArg,
        has_connection: bool,
    ) -> Result<Option<Self>, ConfigError> {
        let within = values::positive_duration("--confirm-within", &args.confirm_within)?;
        let monitoring = Self::monitoring(&args.confirm_url)?;
        let address = args.confirm_server.as_deref().map(Address::parse);
        let name = args.confirm_name.as_deref().map(name).transpose()?;
        if name.is_some() && (monitoring.is_empty() || usage == UsageArg::Server) {
            let problem = "looks for clients in the monitoring of --confirm-url, and not beside --usage server";
            return Err(ConfigError::new(NAME, problem, EXAMPLE_NAME));
        }
        let subject = match (usage, address.transpose()?, monitoring.as_slice()) {
            (_, None, []) => return Ok(None),
            (UsageArg::Client, Some(_), _) => {
                return Err(ConfigError::new(
                    SERVER,
                    "is for the certificate of a server: --usage server",
                    EXAMPLE_SERVER,
                ));
            }
            (UsageArg::Client, None, _) => match name {
                Some(name) => Subject::Clients { name, monitoring },
                None if has_connection => Subject::Own { monitoring },
                None => {
                    return Err(ConfigError::new(
                        URL,
                        "given without --server (NATS_URL), so the agent has no connection to ask about; \
                         --confirm-name asks about those of a service",
                        "--server tls://nats.example.com:4222 --confirm-url http://nats.example.com:8222",
                    ));
                }
            },
            (UsageArg::Server, Some(_), [_, ..]) => {
                return Err(ConfigError::new(
                    SERVER,
                    "given beside --confirm-url; name the server in one way",
                    EXAMPLE_SERVER,
                ));
            }
            (UsageArg::Server, Some(address), []) => Subject::Server { address },
            (UsageArg::Server, None, [monitoring]) => Subject::ServerOf {
                monitoring: monitoring.clone(),
            },
            (UsageArg::Server, None, _) => {
                return Err(ConfigError::new(
                    URL,
                    "names several servers; with --usage server it is the one whose certificate this is",
                    EXAMPLE_URL,
                ));
            }
        };
        Ok(Some(Self { subject, within }))
    }

    /// Each flag and variable may hold a list.
    pub(crate) fn monitoring(texts: &[String]) -> Result<Vec<HttpUrl>, ConfigError> {
        let texts = texts.iter().flat_map(|text| text.split(','));
        texts
            .map(|text| HttpUrl::parse(URL, text.trim(), EXAMPLE_URL))
            .collect()
    }
}

/// As clients give it in CONNECT.
fn name(text: &str) -> Result<String, ConfigError> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        let problem = "is empty or holds control characters";
        return Err(ConfigError::new(NAME, problem, EXAMPLE_NAME));
    }
    Ok(text.to_owned())
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
