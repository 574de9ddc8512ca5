//! Where the NATS servers are, as configured: addresses without user information, the names their
//! certificates must carry, and the credentials a URL may hold.

use std::fmt;
use std::str::FromStr as _;

use async_nats::ServerAddr;
use rustls_pki_types::ServerName;

use crate::nats::authentication::Authentication;
use crate::tls::ServerNames;

/// A URL or a list of them could not be used. Never repeats a URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerListError {
    /// No server at all.
    #[error("no server given; name at least one, for example tls://nats.example.com:4222")]
    Empty,
    /// Not a URL, or a scheme NATS does not have.
    #[error(
        "server {position} is not a NATS URL ({cause}); expected for example tls://nats.example.com:4222"
    )]
    Invalid {
        /// Which one, counted from 1.
        position: usize,
        /// What the parser said.
        cause: &'static str,
    },
    /// `ws://` and `wss://` take another way through the client, past our TLS configuration.
    #[error(
        "server {position} is a WebSocket URL; mutual TLS over WebSocket is not supported, use tls://"
    )]
    WebSocket {
        /// Which one, counted from 1.
        position: usize,
    },
    /// Two URLs with different user information: a client has one identity.
    #[error("server {position} has other credentials than the first; give all servers the same")]
    MixedCredentials {
        /// Which one, counted from 1.
        position: usize,
    },
    /// The host cannot be a TLS name.
    #[error("the host of server {position} is neither a DNS name nor an IP address")]
    BadHost {
        /// Which one, counted from 1.
        position: usize,
    },
}

/// Configured servers. Printing it never shows credentials.
#[derive(Clone)]
pub struct ServerList {
    servers: Vec<ServerAddr>,
    names: Vec<ServerName<'static>>,
    credentials: Option<Authentication>,
}

impl ServerList {
    /// Parses URLs, each of which may be a comma-separated list. A missing scheme means `nats://`;
    /// TLS is required whatever the scheme says.
    ///
    /// # Errors
    /// [`ServerListError`]; `ws://` and `wss://` are refused.
    pub fn parse<I, S>(urls: I) -> Result<Self, ServerListError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut list = Self {
            servers: Vec::new(),
            names: Vec::new(),
            credentials: None,
        };
        for url in urls {
            for url in url
                .as_ref()
                .split(',')
                .map(str::trim)
                .filter(|url| !url.is_empty())
            {
                list.add(url)?;
            }
        }
        if list.servers.is_empty() {
            return Err(ServerListError::Empty);
        }
        Ok(list)
    }

    fn add(&mut self, url: &str) -> Result<(), ServerListError> {
        let position = self.servers.len() + 1;
        let invalid = |cause| ServerListError::Invalid { position, cause };
        let address = ServerAddr::from_str(url).map_err(|_| invalid("it does not parse"))?;
        if address.is_websocket() {
            return Err(ServerListError::WebSocket { position });
        }
        let host = address.host().to_owned();
        if host.is_empty() {
            return Err(invalid("it has no host"));
        }
        let name = ServerName::try_from(host).map_err(|_| ServerListError::BadHost { position })?;
        let credentials = Authentication::from_url(&address);
        if position == 1 {
            self.credentials = credentials;
        } else if credentials.is_some() && credentials != self.credentials {
            return Err(ServerListError::MixedCredentials { position });
        }
        self.servers.push(without_user(address).map_err(invalid)?);
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        Ok(())
    }

    /// The addresses, without user information.
    pub(crate) fn addresses(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// The credentials of the URLs, if they have any.
    pub(crate) fn credentials(&self) -> Option<&Authentication> {
        self.credentials.as_ref()
    }

    /// Whether the URLs hold user information.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// The hosts of the URLs: what a server's certificate must name.
    pub(crate) fn names(&self) -> ServerNames {
        ServerNames::Configured(self.names.clone())
    }

    /// The name people know a server by that calls itself `host` and `port`: the configured one if
    /// the port tells which it is, because INFO often says 0.0.0.0.
    pub(crate) fn label_of(&self, host: &str, port: u16) -> String {
        let mut same_port = self.servers.iter().filter(|server| server.port() == port);
        match (same_port.next(), same_port.next(), self.servers.as_slice()) {
            (Some(server), None, _) | (None, None, [server]) => label(server),
            _ => format!("{host}:{port}"),
        }
    }

    /// How many servers there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a list is never empty")]
    pub fn len(&self) -> usize {
        self.servers.len()
    }
}

/// The client would print a URL with its password in its debug log.
fn without_user(address: ServerAddr) -> Result<ServerAddr, &'static str> {
    let mut url = address.into_inner();
    url.set_password(None).map_err(|()| "it has no host")?;
    url.set_username("").map_err(|()| "it has no host")?;
    ServerAddr::from_url(url).map_err(|_| "it does not parse")
}

/// `host:port`, the way people name a server.
pub(crate) fn label(address: &ServerAddr) -> String {
    let host = address.host();
    if host.contains(':') {
        format!("[{host}]:{}", address.port())
    } else {
        format!("{host}:{}", address.port())
    }
}

impl fmt::Display for ServerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.servers.iter().map(label).collect();
        f.write_str(&labels.join(", "))
    }
}

impl fmt::Debug for ServerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerList({self})")
    }
}

/// Anything that names servers: one URL, several, or a parsed list.
pub trait IntoServerList {
    /// Parses.
    ///
    /// # Errors
    /// As [`ServerList::parse`].
    fn into_server_list(self) -> Result<ServerList, ServerListError>;
}

impl IntoServerList for ServerList {
    fn into_server_list(self) -> Result<ServerList, ServerListError> {
        Ok(self)
    }
}

impl IntoServerList for &str {
    fn into_server_list(self) -> Result<ServerList, ServerListError> {
        ServerList::parse([self])
    }
}

impl IntoServerList for String {
    fn into_server_list(self) -> Result<ServerList, ServerListError> {
        ServerList::parse([self])
    }
}

impl<S: AsRef<str>> IntoServerList for Vec<S> {
    fn into_server_list(self) -> Result<ServerList, ServerListError> {
        ServerList::parse(self)
    }
}

impl<S: AsRef<str>> IntoServerList for &[S] {
    fn into_server_list(self) -> Result<ServerList, ServerListError> {
        ServerList::parse(self.iter().map(AsRef::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_user_information_but_keep_it_as_credentials() {
        let list = ServerList::parse(["tls://alice:s3cret@a:4222,b", "nats://[::1]:5"]).unwrap();
        assert_eq!(list.to_string(), "a:4222, b:4222, [::1]:5");
        assert!(list.credentials().is_some());
        for address in list.addresses() {
            assert!(!format!("{address:?}").contains("s3cret"));
        }
        assert!(!format!("{list:?}").contains("s3cret"));
    }

    #[test]
    fn a_server_is_called_by_its_configured_name() {
        let list = ServerList::parse(["tls://a:1,tls://b:2,tls://c:2"]).unwrap();
        assert_eq!(list.label_of("0.0.0.0", 1), "a:1");
        assert_eq!(list.label_of("10.0.0.7", 2), "10.0.0.7:2");
        let one = ServerList::parse(["tls://nats:4222"]).unwrap();
        assert_eq!(one.label_of("0.0.0.0", 14222), "nats:4222");
    }

    #[test]
    fn unusable_urls_are_refused_without_repeating_them() {
        let parse = |url: &str| ServerList::parse([url]).map(|_| ()).unwrap_err();
        assert_eq!(parse(" , "), ServerListError::Empty);
        assert_eq!(
            parse("a,wss://b"),
            ServerListError::WebSocket { position: 2 }
        );
        assert_eq!(
            parse("tls://u:p@a,tls://u:q@b"),
            ServerListError::MixedCredentials { position: 2 }
        );
        for url in [
            "http://s3cret@a",
            "tls://u:s3cret@a:99999",
            "tls://u:s3cret@",
        ] {
            let error = parse(url);
            assert!(
                matches!(error, ServerListError::Invalid { position: 1, .. }),
                "{url}: {error}"
            );
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
