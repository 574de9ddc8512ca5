//! Where something is asked over plain HTTP: an agent, or nats-server's monitoring.

use std::fmt;

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};

use super::ConfigError;

/// `http://host:port`, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl {
    authority: Authority,
}

impl HttpUrl {
    /// Never repeats the text: it may hold a password.
    pub(super) fn parse(
        flag: &'static str,
        text: &str,
        example: &'static str,
    ) -> Result<Self, ConfigError> {
        let wrong = |problem: &str| ConfigError::new(flag, problem, example);
        let parts = text
            .parse::<Uri>()
            .map_err(|_| wrong("is not a URL"))?
            .into_parts();
        if parts.scheme.as_ref() != Some(&Scheme::HTTP) {
            return Err(wrong("must start with http://"));
        }
        let authority = parts
            .authority
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user, but nobody asks for one there"));
        }
        // `Uri` takes any digits for a port and then forgets them.
        let has_port = authority.port_u16().is_some();
        if !has_port && authority.as_str() != authority.host() {
            return Err(wrong("has a port that is none"));
        }
        let path = parts.path_and_query;
        if !path.is_none_or(|path| matches!(path.as_str(), "/" | "/status")) {
            return Err(wrong("has a path; name host and port only"));
        }
        Ok(Self { authority })
    }

    /// As `host` is written for a connect: IPv6 without brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(80)
    }

    /// For the header `Host`.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HttpUrl, ConfigError> {
        HttpUrl::parse("--url", text, "--url http://127.0.0.1:9464")
    }

    #[test]
    fn an_agent_is_a_host_and_a_port() {
        let cases = [
            ("http://127.0.0.1:9464", "127.0.0.1", 9464),
            ("http://localhost:1/", "localhost", 1),
            ("http://[::1]:9464/status", "::1", 9464),
            ("HTTP://agent", "agent", 80),
        ];
        for (text, host, port) in cases {
            let url = parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn anything_else_is_wrong_usage_and_not_repeated() {
        let cases = [
            ("", "not a URL"),
            ("127.0.0.1:9464", "http://"),
            ("localhost", "http://"),
            ("https://a:9464", "http://"),
            ("tls://a:4222", "http://"),
            ("http://", "not a URL"),
            ("http://a:99999", "port"),
            ("http://a:x", "port"),
            ("http://a:", "port"),
            ("http://a b", "not a URL"),
            ("http://u:s3cret@a", "user"),
            ("http://a/metrics", "path"),
            ("http://a/?s3cret", "path"),
        ];
        for (text, problem) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.flag.starts_with("--url"), "{text}");
            assert!(error.problem.contains(problem), "{text}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
