//! The configuration of a server, and the text that nats-server reads.

use std::path::{Path, PathBuf};

use super::{CERTIFICATE, CLIENT_ROOTS, KEY, Ports};
use crate::pki::{Authority, Identity, LeafSpec};
use crate::tls::TlsVersion;

/// What the server asks of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Speaks plain text: no TLS at all.
    PlainText,
    /// Asks for none: no CertificateRequest in the handshake.
    Off,
    /// One that its roots vouch for.
    Required,
    /// The same, and the user is found from it; see [`ServerSettings::user`].
    Mapped,
}

/// When the TLS handshake happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// After INFO in plain text.
    Never,
    /// Before INFO; a client that waits for INFO is stuck.
    Always,
    /// Before INFO if the client starts one within 50 ms, else after it.
    Auto,
}

/// How a server is set up; see [`super::NatsServer::start`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerSettings {
    identity: Identity,
    identity_directory: Option<PathBuf>,
    client_roots: String,
    verify: Verify,
    minimum_version: TlsVersion,
    handshake_first: HandshakeFirst,
    users: Vec<String>,
    jet_stream: bool,
    max_connections: Option<u32>,
    connection_rate_limit: Option<u32>,
    tls_extra: Vec<String>,
    extra: Vec<String>,
}

/// The part that makes it a member of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) routes: Vec<u16>,
    /// Where the others are told to find it, if not at its port.
    pub(super) advertise: Option<u16>,
}

impl ServerSettings {
    /// A server whose certificate comes from `authority` and which demands client certificates
    /// from its root.
    pub fn new(authority: &Authority) -> Self {
        Self {
            identity: authority.issue(&LeafSpec::server()),
            identity_directory: None,
            client_roots: authority.root_pem(),
            verify: Verify::Required,
            minimum_version: TlsVersion::Tls12,
            handshake_first: HandshakeFirst::Never,
            users: Vec::new(),
            jet_stream: false,
            max_connections: None,
            connection_rate_limit: None,
            tls_extra: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Presents this certificate instead.
    pub fn with_identity(mut self, identity: &Identity) -> Self {
        self.identity = identity.clone();
        self
    }

    /// Reads its certificate and key from `tls.crt` and `tls.key` there instead.
    pub fn identity_in(mut self, directory: &Path) -> Self {
        self.identity_directory = Some(directory.to_owned());
        self
    }

    /// Trusts these roots for clients instead.
    pub fn with_client_roots(mut self, roots_pem: &str) -> Self {
        roots_pem.clone_into(&mut self.client_roots);
        self
    }

    /// Sets what is asked of a client's certificate.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Maps certificates to users, and lets in this one: an email, DNS or URI name of the
    /// certificate, or its subject as nats-server prints it, such as `CN=orders,O=acme`.
    pub fn user(mut self, user: &str) -> Self {
        self.verify = Verify::Mapped;
        self.users.push(format!("{{ user: {user:?} }}"));
        self
    }

    /// Lets in a user with a password, beside the certificate.
    pub fn password_user(mut self, user: &str, password: &str) -> Self {
        self.users
            .push(format!("{{ user: {user:?}, password: {password:?} }}"));
        self
    }

    /// Forgets all users.
    pub fn no_users(mut self) -> Self {
        self.users.clear();
        self
    }

    /// Sets the lowest TLS version. There is no highest one in nats-server.
    pub fn minimum_version(mut self, version: TlsVersion) -> Self {
        self.minimum_version = version;
        self
    }

    /// Sets when the TLS handshake happens.
    pub fn handshake_first(mut self, when: HandshakeFirst) -> Self {
        self.handshake_first = when;
        self
    }

    /// Turns JetStream on, stored in files that survive a restart.
    pub fn jet_stream(mut self) -> Self {
        self.jet_stream = true;
        self
    }

    /// Refuses more connections than this.
    pub fn max_connections(mut self, limit: u32) -> Self {
        self.max_connections = Some(limit);
        self
    }

    /// Throttles TLS handshakes to this many a second.
    pub fn connection_rate_limit(mut self, per_second: u32) -> Self {
        self.connection_rate_limit = Some(per_second);
        self
    }

    /// Adds a line to the `tls` block, for example `pinned_certs: [...]`.
    pub fn tls_line(mut self, line: &str) -> Self {
        self.tls_extra.push(line.to_owned());
        self
    }

    /// Adds a line at the top level, for example `ping_interval: "1s"`.
    pub fn line(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn client_roots(&self) -> &str {
        &self.client_roots
    }

    /// The text of the configuration file. Without `ports` the server chooses.
    pub(super) fn render(
        &self,
        directory: &Path,
        ports: Option<Ports>,
        cluster: Option<&Cluster>,
    ) -> String {
        let (client, monitoring) = ports.map_or((-1, -1), |ports| {
            (i32::from(ports.client), i32::from(ports.monitoring))
        });
        let mut lines = vec![
            "host: 127.0.0.1".to_owned(),
            format!("port: {client}"),
            format!("http: \"127.0.0.1:{monitoring}\""),
        ];
        if self.verify != Verify::PlainText {
            lines.push("tls {".to_owned());
            lines.extend(self.tls_lines(directory).into_iter().map(indent));
            lines.push("}".to_owned());
        }
        if !self.users.is_empty() {
            lines.push("authorization {".to_owned());
            lines.push(indent(format!("users: [ {} ]", self.users.join(", "))));
            lines.push("}".to_owned());
        }
        if self.jet_stream {
            lines.push("jetstream {".to_owned());
            lines.push(indent(format!("store_dir: {:?}", directory.join("store"))));
            lines.push("}".to_owned());
        }
        if let Some(limit) = self.max_connections {
            lines.push(format!("max_connections: {limit}"));
        }
        lines.extend(self.extra.iter().cloned());
        lines.extend(cluster.into_iter().flat_map(Cluster::lines));
        lines.join("\n") + "\n"
    }

    fn tls_lines(&self, directory: &Path) -> Vec<String> {
        let (certificate, key) = match &self.identity_directory {
            Some(other) => (other.join("tls.crt"), other.join("tls.key")),
            None => (directory.join(CERTIFICATE), directory.join(KEY)),
        };
        let mut lines = vec![
            format!("cert_file: {certificate:?}"),
            format!("key_file: {key:?}"),
            format!("ca_file: {:?}", directory.join(CLIENT_ROOTS)),
            format!("min_version: \"{}\"", self.minimum_version.as_str()),
        ];
        match self.verify {
            Verify::PlainText | Verify::Off => {}
            Verify::Required => lines.push("verify: true".to_owned()),
            Verify::Mapped => lines.push("verify_and_map: true".to_owned()),
        }
        match self.handshake_first {
            HandshakeFirst::Never => {}
            HandshakeFirst::Always => lines.push("handshake_first: true".to_owned()),
            HandshakeFirst::Auto => lines.push("handshake_first: auto".to_owned()),
        }
        if let Some(limit) = self.connection_rate_limit {
            lines.push(format!("connection_rate_limit: {limit}"));
        }
        lines.extend(self.tls_extra.iter().cloned());
        lines
    }
}

impl Cluster {
    fn lines(&self) -> Vec<String> {
        let routes: Vec<_> = self
            .routes
            .iter()
            .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
            .collect();
        let mut lines = vec![
            format!("server_name: \"{}-{}\"", self.name, self.port),
            "cluster {".to_owned(),
            indent(format!("name: {:?}", self.name)),
            indent(format!("listen: \"127.0.0.1:{}\"", self.port)),
            indent(format!("routes: [ {} ]", routes.join(", "))),
        ];
        if let Some(port) = self.advertise {
            lines.push(indent(format!("advertise: \"127.0.0.1:{port}\"")));
        }
        lines.push("}".to_owned());
        lines
    }
}

fn indent(line: String) -> String {
    format!("    {line}")
}
