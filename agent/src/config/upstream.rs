//! The NATS side of the configuration: servers, names, authentication.

use std::path::Path;
use std::time::Duration;

use nats_mtls::nats::{Authentication, Secret, ServerList};
use nats_mtls::tls::ServerNames;
use nats_mtls::{ConnectSettings, StartupPolicy};

use super::{ConfigError, values};
use crate::args::{AuthenticationArgs, ConnectionArgs};

/// Where to connect, and as whom. Printing it shows no secret.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) servers: ServerList,
    settings: ConnectSettings,
    connect_timeout: Duration,
}

const SERVER: &str = "--server (NATS_URL)";
const EXAMPLE_URL: &str = "--server tls://nats.example.com:4222";
const AUTHENTICATION: &str = "authentication";
const EXAMPLE_USER: &str = "--user orders --password-file /run/secrets/nats-password";

impl Upstream {
    /// None without a server.
    pub(super) fn new(
        connection: &ConnectionArgs,
        authentication: &AuthenticationArgs,
    ) -> Result<Option<Self>, ConfigError> {
        let connect_timeout =
            values::positive_duration("--connect-timeout", &connection.connect_timeout)?;
        if connection.component.trim().is_empty()
            || connection.component.chars().any(char::is_control)
        {
            return Err(ConfigError::new(
                "--component (NATS_MTLS_COMPONENT)",
                "is empty or holds control characters",
                "--component orders-agent",
            ));
        }
        let names = tls_names(&connection.tls_name)?;
        let chosen = authentication_of(authentication)?;
        if connection.server.is_empty() {
            return refuse_without_server(connection, chosen.as_ref()).map(|()| None);
        }
        let servers = ServerList::parse(&connection.server)
            .map_err(|error| ConfigError::new(SERVER, error.to_string(), EXAMPLE_URL))?;
        if servers.has_credentials() && chosen.is_some() {
            return Err(ConfigError::new(
                AUTHENTICATION,
                "given twice, in the URL of a server and by a flag; a client has one identity",
                EXAMPLE_USER,
            ));
        }
        if let Some(authentication) = &chosen {
            authentication.validate().map_err(|error| {
                ConfigError::new(AUTHENTICATION, error.to_string(), EXAMPLE_USER)
            })?;
        }
        let mut settings = ConnectSettings::new()
            .component(&connection.component)
            .tls_first(connection.tls_first)
            .connect_timeout(connect_timeout);
        if let Some(names) = names {
            settings = settings.tls_names(names);
        }
        if let Some(authentication) = chosen {
            settings = settings.authentication(authentication);
        }
        Ok(Some(Self {
            servers,
            settings,
            connect_timeout,
        }))
    }

    pub(super) fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings = self.settings.ping_interval(interval);
        self
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    pub(super) fn server_count(&self) -> u32 {
        u32::try_from(self.servers.len()).unwrap_or(u32::MAX)
    }

    /// How a connection is made; nothing of the start is in it.
    pub(crate) const fn settings(&self) -> &ConnectSettings {
        &self.settings
    }

    /// How the first connection is made under `policy`.
    pub(crate) fn settings_with(&self, policy: StartupPolicy) -> ConnectSettings {
        self.settings.clone().startup(policy)
    }
}

/// A flag that can do nothing is a misunderstanding, and a silent one would cost somebody a night.
fn refuse_without_server(
    connection: &ConnectionArgs,
    authentication: Option<&Authentication>,
) -> Result<(), ConfigError> {
    let flag = if connection.tls_first {
        "--tls-first (NATS_TLS_FIRST)"
    } else if !connection.tls_name.is_empty() {
        "--tls-name (NATS_TLS_NAME)"
    } else if authentication.is_some() {
        AUTHENTICATION
    } else {
        return Ok(());
    };
    Err(ConfigError::new(
        flag,
        "given without --server (NATS_URL), so there is nothing it could be used for",
        EXAMPLE_URL,
    ))
}

fn tls_names(given: &[String]) -> Result<Option<ServerNames>, ConfigError> {
    let wrong = |problem| {
        ConfigError::new(
            "--tls-name (NATS_TLS_NAME)",
            problem,
            "--tls-name nats.example.com",
        )
    };
    if given.is_empty() {
        return Ok(None);
    }
    let names: Vec<_> = given
        .iter()
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return Err(wrong("holds no name"));
    }
    ServerNames::configured(names)
        .map(Some)
        .map_err(|_| wrong("is neither a DNS name nor an IP address"))
}

/// At most one of the four ways.
fn authentication_of(args: &AuthenticationArgs) -> Result<Option<Authentication>, ConfigError> {
    let given: Vec<&'static str> = [
        ("--creds", args.creds.is_some()),
        ("--nkey-seed-file", args.nkey_seed_file.is_some()),
        (
            "--user",
            args.user.is_some() || args.password_file.is_some(),
        ),
        ("--token-file", args.token_file.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, is_given)| is_given.then_some(flag))
    .collect();
    if given.len() > 1 {
        return Err(ConfigError::new(
            AUTHENTICATION,
            format!("{} are given; use one", given.join(" and ")),
            EXAMPLE_USER,
        ));
    }
    if let Some(path) = &args.creds {
        let text = secret("--creds (NATS_MTLS_CREDS)", path, "--creds orders.creds")?;
        return Ok(Some(Authentication::Credentials(text)));
    }
    if let Some(path) = &args.nkey_seed_file {
        let flag = "--nkey-seed-file (NATS_MTLS_NKEY_SEED_FILE)";
        let seed = secret(flag, path, "--nkey-seed-file orders.nk")?;
        return Ok(Some(Authentication::NkeySeed(seed)));
    }
    if let Some(path) = &args.token_file {
        let flag = "--token-file (NATS_MTLS_TOKEN_FILE)";
        let token = secret(flag, path, "--token-file /run/secrets/nats-token")?;
        return Ok(Some(Authentication::Token(token)));
    }
    match (&args.user, &args.password_file) {
        (None, None) => Ok(None),
        (Some(user), Some(path)) => Ok(Some(Authentication::UserPassword {
            user: user.clone(),
            password: secret(
                "--password-file (NATS_MTLS_PASSWORD_FILE)",
                path,
                EXAMPLE_USER,
            )?,
        })),
        (Some(_), None) => Err(ConfigError::new(
            "--user (NATS_MTLS_USER)",
            "needs --password-file; a password is never taken from the command line",
            EXAMPLE_USER,
        )),
        (None, Some(_)) => Err(ConfigError::new(
            "--password-file (NATS_MTLS_PASSWORD_FILE)",
            "needs --user",
            EXAMPLE_USER,
        )),
    }
}

pub(super) fn secret(
    flag: &'static str,
    path: &Path,
    example: &'static str,
) -> Result<Secret, ConfigError> {
    Authentication::secret_file(path)
        .map_err(|error| ConfigError::new(flag, error.to_string(), example))
}
