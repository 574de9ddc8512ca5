//! The relay's side of the configuration: address, local credentials, limits.

use std::net::SocketAddr;
use std::time::Duration;

use nats_mtls::RelaySettings;
use nats_mtls::relay::{LocalCredentials, RelayLimits, RotationMode};

use super::upstream::secret;
use super::{ConfigError, Startup, Upstream, values};
use crate::args::{RelayArgs, RotationArg};

const LISTEN: &str = "--listen (NATS_MTLS_LISTEN)";
const EXAMPLE_LISTEN: &str = "--listen 127.0.0.1:4222 --server tls://nats.example.com:4222";
const LOCAL: &str = "local credentials";
const EXAMPLE_LOCAL: &str = "--local-user orders --local-password-file /run/secrets/relay-password";

/// What the relay needs of the rest.
pub(super) struct Around<'a> {
    pub(super) upstream: Option<&'a Upstream>,
    /// Also how long a client is kept waiting for NATS.
    pub(super) startup: &'a Startup,
    pub(super) spread: Duration,
    pub(super) drain_timeout: Duration,
}

/// None without `--listen`.
pub(super) fn settings(
    args: &RelayArgs,
    around: &Around<'_>,
) -> Result<Option<RelaySettings>, ConfigError> {
    let local = local_credentials(args)?;
    let Some(listen) = &args.listen else {
        return refuse_without_listen(args, local.is_some()).map(|()| None);
    };
    let address: SocketAddr = listen.parse().map_err(|_| {
        let problem = format!("{listen:?} is not an IP address with a port");
        ConfigError::new(LISTEN, problem, EXAMPLE_LISTEN)
    })?;
    let Some(upstream) = around.upstream else {
        let problem = "needs --server (NATS_URL): a relay must know where to";
        return Err(ConfigError::new(LISTEN, problem, EXAMPLE_LISTEN));
    };
    if !address.ip().is_loopback() && !args.unsafe_listen && local.is_none() {
        let problem = format!(
            "{address} is not loopback, so whoever reaches it would act under this agent's \
             certificate; ask for local credentials, or say --unsafe-listen"
        );
        return Err(ConfigError::new(LISTEN, problem, EXAMPLE_LOCAL));
    }
    let Startup { policy, budget } = *around.startup;
    let upstream = upstream
        .settings_with(policy)
        .startup_passes(budget.passes)
        .startup_margin(budget.margin);
    let mut settings = RelaySettings::new()
        .listen(address)
        .unsafe_listen(args.unsafe_listen)
        .upstream(upstream)
        .limits(limits(args)?)
        .spread(around.spread)
        .drain_limit(around.drain_timeout)
        .rotation(match args.rotation {
            Some(RotationArg::Reconnect) => RotationMode::Reconnect,
            Some(RotationArg::Handover) | None => RotationMode::Handover,
        });
    if let Some(local) = local {
        settings = settings.local_credentials(local);
    }
    if let Some(count) = args.handovers_at_once {
        settings = settings.handovers_at_once(size(count));
    }
    if let Some(text) = &args.handover_step_timeout {
        let limit = values::positive_duration("--handover-step-timeout", text)?;
        settings = settings.step_limit(limit);
    }
    if let Some(text) = &args.route_wait {
        settings = settings.route_wait(values::duration("--route-wait", text)?);
    }
    Ok(Some(settings))
}

fn limits(args: &RelayArgs) -> Result<RelayLimits, ConfigError> {
    let mut limits = RelayLimits::new();
    if let Some(count) = args.max_sessions {
        limits = limits.sessions(size(count));
    }
    if let Some(text) = &args.client_connect_timeout {
        let limit = values::positive_duration("--client-connect-timeout", text)?;
        limits = limits.connect_time(limit);
    }
    if let Some(text) = &args.client_stall_timeout {
        limits = limits.stall(values::positive_duration("--client-stall-timeout", text)?);
    }
    if let Some(text) = &args.client_operation_timeout {
        let limit = values::positive_duration("--client-operation-timeout", text)?;
        limits = limits.operation(limit);
    }
    match args.client_idle_timeout.as_deref() {
        None | Some("off") => {}
        Some(text) => {
            let limit = values::positive_duration("--client-idle-timeout", text)?;
            limits = limits.idle(Some(limit));
        }
    }
    if let Some(bytes) = args.max_control_line {
        limits = limits.control_line(size(bytes));
    }
    if let Some(bytes) = args.max_buffered {
        limits = limits.buffered(size(bytes));
    }
    if let Some(count) = args.max_subscriptions {
        limits = limits.subscriptions(size(count));
    }
    if let Some(bytes) = args.max_interest {
        limits = limits.interest(size(bytes));
    }
    Ok(limits)
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A flag that can do nothing is a misunderstanding: somebody believes to have set a limit.
fn refuse_without_listen(args: &RelayArgs, local: bool) -> Result<(), ConfigError> {
    let given = [
        (
            "--unsafe-listen (NATS_MTLS_UNSAFE_LISTEN)",
            args.unsafe_listen,
        ),
        (LOCAL, local),
        ("--rotation (NATS_MTLS_ROTATION)", args.rotation.is_some()),
        ("--handovers-at-once", args.handovers_at_once.is_some()),
        (
            "--handover-step-timeout",
            args.handover_step_timeout.is_some(),
        ),
        ("--route-wait", args.route_wait.is_some()),
        ("--max-sessions", args.max_sessions.is_some()),
        (
            "--client-connect-timeout",
            args.client_connect_timeout.is_some(),
        ),
        (
            "--client-stall-timeout",
            args.client_stall_timeout.is_some(),
        ),
        (
            "--client-operation-timeout",
            args.client_operation_timeout.is_some(),
        ),
        ("--client-idle-timeout", args.client_idle_timeout.is_some()),
        ("--max-control-line", args.max_control_line.is_some()),
        ("--max-buffered", args.max_buffered.is_some()),
        ("--max-subscriptions", args.max_subscriptions.is_some()),
        ("--max-interest", args.max_interest.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(ConfigError::new(
            flag,
            "given without --listen (NATS_MTLS_LISTEN), so there is no relay it could be used for",
            EXAMPLE_LISTEN,
        )),
    }
}

/// A user with a password, or a token.
fn local_credentials(args: &RelayArgs) -> Result<Option<LocalCredentials>, ConfigError> {
    let user = args.local_user.is_some() || args.local_password_file.is_some();
    if user && args.local_token_file.is_some() {
        let problem = "a user and a token are given; use one";
        return Err(ConfigError::new(LOCAL, problem, EXAMPLE_LOCAL));
    }
    if let Some(path) = &args.local_token_file {
        let flag = "--local-token-file (NATS_MTLS_LOCAL_TOKEN_FILE)";
        let token = secret(flag, path, "--local-token-file /run/secrets/relay-token")?;
        return Ok(Some(LocalCredentials::token(token)));
    }
    match (&args.local_user, &args.local_password_file) {
        (None, None) => Ok(None),
        (Some(user), Some(path)) => {
            let flag = "--local-password-file (NATS_MTLS_LOCAL_PASSWORD_FILE)";
            let password = secret(flag, path, EXAMPLE_LOCAL)?;
            Ok(Some(LocalCredentials::user_password(user, password)))
        }
        (Some(_), None) => Err(ConfigError::new(
            "--local-user (NATS_MTLS_LOCAL_USER)",
            "needs --local-password-file; a password is never taken from the command line",
            EXAMPLE_LOCAL,
        )),
        (None, Some(_)) => Err(ConfigError::new(
            "--local-password-file (NATS_MTLS_LOCAL_PASSWORD_FILE)",
            "needs --local-user",
            EXAMPLE_LOCAL,
        )),
    }
}
