//! How a connection is made: everything a connection and each of its preflights share.
//!
//! Fresh `async_nats::ConnectOptions` are built for every use. A clone would fire callbacks twice
//! and could not unset `retry_on_initial_connect`, which turns a refused connect into `Ok`.

use std::time::Duration;

use async_nats::ConnectOptions;
use rustls::ClientConfig;

use crate::backoff::Backoff;
#[cfg(feature = "relay")]
use crate::nats::authentication::Secret;
use crate::nats::authentication::{Authentication, AuthenticationError};
use crate::nats::servers::ServerList;
use crate::nats::startup::{StartupBudget, StartupPolicy};
use crate::tls::ServerNames;

#[cfg(feature = "relay")]
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Settings of one connection. The defaults are meant for production.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    pub(crate) component: String,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) tls_names: Option<ServerNames>,
    pub(crate) tls_first: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) flush_limit: Duration,
    pub(crate) reconnect_backoff: Backoff,
    pub(crate) startup: Option<StartupPolicy>,
    pub(crate) startup_passes: u32,
    pub(crate) startup_margin: Duration,
    #[cfg(feature = "relay")]
    pub(crate) handover: bool,
    client: ClientSettings,
}

/// What is passed on to async-nats as it is.
#[derive(Debug, Clone, Default)]
struct ClientSettings {
    no_echo: bool,
    ignore_discovered_servers: bool,
    subscription_capacity: Option<usize>,
    client_capacity: Option<usize>,
    inbox_prefix: Option<String>,
    request_timeout: Option<Option<Duration>>,
}

impl Default for ConnectSettings {
    fn default() -> Self {
        Self {
            component: "nats-mtls".to_owned(),
            authentication: None,
            tls_names: None,
            tls_first: false,
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
            flush_limit: Duration::from_secs(2),
            reconnect_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            startup: None,
            startup_passes: 3,
            startup_margin: Duration::from_secs(15),
            #[cfg(feature = "relay")]
            handover: false,
            client: ClientSettings::default(),
        }
    }
}

impl ConnectSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of this connection: sent to the server as the client's name, and the `component`
    /// of logs, status and metrics. Must be unique per manager, and from a small
    /// fixed set: it is a metric label. Default `nats-mtls`.
    #[must_use]
    pub fn component(mut self, name: impl Into<String>) -> Self {
        self.component = name.into();
        self
    }

    /// Authentication beside the certificate. Default: the user information of the URLs, else the
    /// certificate alone.
    #[must_use]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// The names the server's certificate may carry. Default: the hosts of the URLs.
    #[must_use]
    pub fn tls_names(mut self, names: ServerNames) -> Self {
        self.tls_names = Some(names);
        self
    }

    /// TLS before INFO, for servers with `handshake_first`. Default off.
    #[must_use]
    pub fn tls_first(mut self, tls_first: bool) -> Self {
        self.tls_first = tls_first;
        self
    }

    /// For TCP, TLS and NATS handshake together, per resolved address. Default 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Between two PINGs; a dead connection is noticed on the third. Default 20 s.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// How long a rotation waits for buffered messages to reach the socket. Default 2 s.
    #[must_use]
    pub fn flush_limit(mut self, limit: Duration) -> Self {
        self.flush_limit = limit;
        self
    }

    /// Between reconnect attempts after the first, which is made at once. Default 100 ms to 5 s.
    #[must_use]
    pub fn reconnect_backoff(mut self, backoff: Backoff) -> Self {
        self.reconnect_backoff = backoff;
        self
    }

    /// What to do while no server can be reached at the start. Default: retry until
    /// [`StartupBudget::total`] is spent.
    #[must_use]
    pub fn startup(mut self, policy: StartupPolicy) -> Self {
        self.startup = Some(policy);
        self
    }

    /// How often each server is tried within the default startup budget. Default 3.
    #[must_use]
    pub fn startup_passes(mut self, passes: u32) -> Self {
        self.startup_passes = passes;
        self
    }

    /// What the default startup budget adds for pauses and DNS. Default 15 s.
    #[must_use]
    pub fn startup_margin(mut self, margin: Duration) -> Self {
        self.startup_margin = margin;
        self
    }

    /// Rotates without losing a core message: the client goes through a private relay of this
    /// process, which hands its connection over to each new certificate. Nothing is lost, repeated
    /// or reordered, and the client's own connection stays. Default off: a rotation is a reconnect.
    ///
    /// The relay speaks mutual TLS to the servers and holds the [`ConnectSettings::authentication`],
    /// so what must be signed is signed for each new connection. Its client reaches it on
    /// `127.0.0.1`, the one hop without TLS that there is, with a random secret of that relay. Whoever
    /// else connects there is turned away, and no server hears of it.
    ///
    /// # What is different
    /// * A rotation is no event and does not change [`Connection::reconnect_epoch`];
    ///   [`Connection::reached`] and the report tell it.
    /// * A server that goes away is an outage as for any connection, in report, events, epoch, metrics
    ///   and readiness, but the client is only held back until the relay has reached a server again.
    ///   Its own state, events and statistics say nothing of it.
    /// * `Client::server_info` stays that of the server at the start; the report has the present one.
    /// * Dropping the [`Connection`] ends the relay, so it drains the client: clones of it do not go on.
    /// * A move needs one connection more at the server for a moment. Where it cannot be lossless
    ///   (another server of a cluster has limits of its own) the documentation of
    ///   [`relay`](crate::relay) says what happens instead.
    ///
    /// # What it costs
    /// Each message passes through the process once more. Beside a direct connection, in turns within
    /// one run on 2 cores (`scripts/bench service_handover`):
    ///
    /// | | with handover, as a share of direct |
    /// |---|---|
    /// | publishing, 128 B and 16 KiB | 0.82 and 0.80 of the rate |
    /// | subscribing, 128 B and 16 KiB | 1.28 and 0.95 of the rate: a core more takes part |
    /// | request and reply, median | 1.12 of the time, 15 µs more |
    /// | memory of an idle connection | 32 KiB more: 90 instead of 58 |
    ///
    /// [`Connection`]: crate::Connection
    /// [`Connection::reached`]: crate::Connection::reached
    /// [`Connection::reconnect_epoch`]: crate::Connection::reconnect_epoch
    #[cfg(feature = "relay")]
    #[must_use]
    pub fn handover(mut self) -> Self {
        self.handover = true;
        self
    }

    /// Do not receive own messages. Default off.
    #[must_use]
    pub fn no_echo(mut self) -> Self {
        self.client.no_echo = true;
        self
    }

    /// Dial configured servers only, not those of INFO. Default off.
    #[must_use]
    pub fn ignore_discovered_servers(mut self) -> Self {
        self.client.ignore_discovered_servers = true;
        self
    }

    /// Messages buffered per subscription before it counts as slow. Default: that of async-nats.
    #[must_use]
    pub fn subscription_capacity(mut self, messages: usize) -> Self {
        self.client.subscription_capacity = Some(messages);
        self
    }

    /// Commands buffered in the client. Default: that of async-nats.
    #[must_use]
    pub fn client_capacity(mut self, commands: usize) -> Self {
        self.client.client_capacity = Some(commands);
        self
    }

    /// Prefix of reply inboxes. Default `_INBOX`.
    #[must_use]
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.client.inbox_prefix = Some(prefix.into());
        self
    }

    /// How long a request waits for its reply; `None` waits for ever. Default: that of async-nats.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.client.request_timeout = Some(timeout);
        self
    }

    /// The budget the default startup policy has for `servers`.
    #[must_use]
    pub fn startup_budget(&self, servers: &ServerList) -> StartupBudget {
        StartupBudget {
            connect_timeout: self.connect_timeout,
            servers: u32::try_from(servers.len()).unwrap_or(u32::MAX),
            passes: self.startup_passes,
            margin: self.startup_margin,
        }
    }

    /// Whether a server sees no difference between handshakes with these and with `other`.
    pub(crate) fn handshakes_like(&self, other: &Self) -> bool {
        self.authentication == other.authentication
            && self.tls_names == other.tls_names
            && self.tls_first == other.tls_first
            && self.connect_timeout == other.connect_timeout
    }

    /// The names a server must carry: the configured ones, else the hosts of `servers`.
    pub(crate) fn names(&self, servers: &ServerList) -> ServerNames {
        self.tls_names.clone().unwrap_or_else(|| servers.names())
    }

    /// Fresh options: authentication, TLS always, no callback but the caller's own.
    pub(crate) fn options(
        &self,
        servers: &ServerList,
        tls: ClientConfig,
    ) -> Result<ConnectOptions, AuthenticationError> {
        let authentication = self
            .authentication
            .as_ref()
            .or(servers.credentials())
            .unwrap_or(&Authentication::CertificateOnly);
        let mut options = authentication
            .options()?
            .tls_client_config(tls)
            .require_tls(true)
            .connection_timeout(self.connect_timeout)
            .ping_interval(self.ping_interval);
        if self.tls_first {
            options = options.tls_first();
        }
        Ok(self.client.apply(options))
    }

    /// Fresh options for the one hop in plain text that there is: to a private relay of this
    /// process, on loopback, which lets in who knows the token. The relay watches the server, and
    /// holds the client back while there is none; the client need not do it again.
    #[cfg(feature = "relay")]
    pub(crate) fn hop_options(&self, servers: &ServerList, token: &Secret) -> ConnectOptions {
        let options = ConnectOptions::with_token(token.expose().to_owned())
            .connection_timeout(self.hop_limit(servers))
            .ping_interval(NEVER);
        self.client.apply(options)
    }

    /// In which a private relay has tried every server once, and said so.
    #[cfg(feature = "relay")]
    pub(crate) fn hop_limit(&self, servers: &ServerList) -> Duration {
        let servers = u32::try_from(servers.len()).unwrap_or(u32::MAX);
        let pass = self.connect_timeout.saturating_mul(servers);
        pass.saturating_add(self.connect_timeout)
            .saturating_add(Duration::from_secs(1))
    }
}

impl ClientSettings {
    fn apply(&self, mut options: ConnectOptions) -> ConnectOptions {
        if self.no_echo {
            options = options.no_echo();
        }
        if self.ignore_discovered_servers {
            options = options.ignore_discovered_servers();
        }
        if let Some(capacity) = self.subscription_capacity {
            options = options.subscription_capacity(capacity);
        }
        if let Some(capacity) = self.client_capacity {
            options = options.client_capacity(capacity);
        }
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        if let Some(timeout) = self.request_timeout {
            options = options.request_timeout(timeout);
        }
        options
    }
}
