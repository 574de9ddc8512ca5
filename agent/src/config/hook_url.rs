//! Where a rotation is POSTed to.

use std::fmt;
use std::net::IpAddr;

use axum::http::Uri;
use axum::http::uri::{Authority, PathAndQuery, Scheme};

use super::ConfigError;

/// `http://` on loopback, `https://` anywhere. Printing it leaves path and query out: they may hold
/// a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HookUrl {
    pub(crate) is_tls: bool,
    authority: Authority,
    path: String,
}

impl HookUrl {
    /// Never repeats the text.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| {
            ConfigError::new(
                "--on-rotate-http (NATS_MTLS_ON_ROTATE_HTTP)",
                problem,
                "--on-rotate-http http://127.0.0.1:8080/-/reload",
            )
        };
        let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let parts = uri.into_parts();
        let is_tls = match &parts.scheme {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(wrong("must start with http:// or https://")),
        };
        let authority = parts
            .authority
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user; a password does not belong into a URL"));
        }
        // `Uri` takes any digits for a port and then forgets them.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(wrong("has a port that is none"));
        }
        let url = Self {
            is_tls,
            authority,
            path: request_path(parts.path_and_query.as_ref()),
        };
        if !url.is_tls && !url.is_loopback() {
            return Err(wrong(
                "is plain HTTP to another machine; use https://, or an address on loopback",
            ));
        }
        Ok(url)
    }

    fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
    }

    /// As it is written for a connect: IPv6 without brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    pub(crate) fn port(&self) -> u16 {
        let default = if self.is_tls { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(default)
    }

    /// For the header `Host`.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// For the request line.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// A query may come without a path.
fn request_path(path: Option<&PathAndQuery>) -> String {
    let text = path.map_or("", PathAndQuery::as_str);
    let slash = if text.starts_with('/') { "" } else { "/" };
    format!("{slash}{text}")
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_over_http_and_anywhere_over_https() {
        let cases = [
            (
                "http://127.0.0.1:8080/-/reload",
                "127.0.0.1",
                8080,
                "/-/reload",
            ),
            ("http://localhost", "localhost", 80, "/"),
            ("http://[::1]:81?a=b", "::1", 81, "/?a=b"),
            (
                "https://hooks.example.com/x",
                "hooks.example.com",
                443,
                "/x",
            ),
        ];
        for (text, host, port, path) in cases {
            let url = HookUrl::parse(text).unwrap();
            assert_eq!(
                (url.host(), url.port(), url.path()),
                (host, port, path),
                "{text}"
            );
        }
        let url = HookUrl::parse("https://a/s3cret?t=s3cret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://a https://a");
    }

    #[test]
    fn anything_else_is_wrong_usage_and_not_repeated() {
        let cases = [
            ("", "not a URL"),
            ("127.0.0.1:80/s3cret", "not a URL"),
            ("ftp://a/s3cret", "http:// or https://"),
            ("http://10.0.0.1/s3cret", "another machine"),
            ("http://localhost.example.com/", "another machine"),
            ("https://u:s3cret@a/", "user"),
            ("https://a:s3cret/", "port"),
            ("https://a:99999/", "port"),
        ];
        for (text, problem) in cases {
            let error = HookUrl::parse(text).unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
