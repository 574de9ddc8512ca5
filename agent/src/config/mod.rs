//! From raw arguments to a checked configuration: after this nothing can be missing, malformed or
//! contradictory. Every error names the flag and shows how it is written.
//!
//! Reads secret files, because a secret that cannot be read is wrong usage. Must not read
//! certificates or open sockets.

mod confirm;
mod hook_url;
mod http_url;
mod notify;
mod plan;
mod publish;
mod relay;
mod startup;
mod status;
mod upstream;
mod values;
mod wait;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nats_mtls::material::{IdentityChange, Usage};
use nats_mtls::{Files, Policy, RelaySettings};

use crate::args::{
    CheckArgs, IdentityChangeArg, MaterialArgs, RunArgs, StartupArg, Switch, UsageArg,
};

use crate::notify::Paths;

pub(crate) use confirm::{Address, ConfirmConfig, Subject};
pub(crate) use hook_url::HookUrl;
pub(crate) use http_url::HttpUrl;
pub(crate) use notify::{ExecConfig, NotifyConfig, PostConfig, SignalConfig, Target};
pub(crate) use plan::PlanConfig;
pub(crate) use publish::{Access, PublishConfig};
pub(crate) use startup::Startup;
pub(crate) use status::StatusConfig;
pub(crate) use upstream::Upstream;
pub(crate) use wait::WaitConfig;

/// What `run` needs.
#[derive(Debug)]
pub(crate) struct RunConfig {
    pub(crate) files: Files,
    pub(crate) policy: Policy,
    /// None: watch only.
    pub(crate) upstream: Option<Upstream>,
    /// None: no relay. Only with an upstream.
    pub(crate) relay: Option<RelaySettings>,
    pub(crate) poll_interval: Duration,
    pub(crate) settle: Duration,
    pub(crate) spread: Duration,
    pub(crate) preflight: bool,
    /// None: nothing is published for other processes.
    pub(crate) publish: Option<PublishConfig>,
    /// None: nobody is told.
    pub(crate) notify: Option<NotifyConfig>,
    /// None: nothing is confirmed.
    pub(crate) confirm: Option<ConfirmConfig>,
    /// What others read.
    pub(crate) paths: Paths,
    pub(crate) startup: Startup,
    /// None: no HTTP.
    pub(crate) http: Option<SocketAddr>,
    pub(crate) drain_timeout: Duration,
}

/// What `check` needs.
#[derive(Debug)]
pub(crate) struct CheckConfig {
    pub(crate) files: Files,
    /// The same files, for the picture: word and path.
    pub(crate) paths: Vec<(&'static str, PathBuf)>,
    pub(crate) policy: Policy,
    pub(crate) usage: Usage,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) min_validity: Option<Duration>,
    pub(crate) json: bool,
}

/// Wrong usage: which flag, what is wrong with it, how it is written. Holds no secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {problem}\n\n  for example: {example}")]
pub(crate) struct ConfigError {
    pub(crate) flag: &'static str,
    pub(crate) problem: String,
    pub(crate) example: &'static str,
}

impl ConfigError {
    fn new(flag: &'static str, problem: impl Into<String>, example: &'static str) -> Self {
        Self {
            flag,
            problem: problem.into(),
            example,
        }
    }
}

/// Clients of the relay are given time to leave; Kubernetes gives 30 s in all.
const DRAIN_WITH_RELAY: Duration = Duration::from_secs(25);
const DRAIN: Duration = Duration::from_secs(2);
const EXAMPLE_SET: &str = "--cert tls.crt --key tls.key --ca ca.crt";

impl RunConfig {
    pub(crate) fn new(args: &RunArgs) -> Result<Self, ConfigError> {
        let rotation = &args.rotation;
        let upstream = Upstream::new(&args.connection, &args.authentication)?;
        refuse_server_usage(&args.material, upstream.as_ref())?;
        let publish = PublishConfig::new(&args.publish, &args.material)?;
        let ping_interval =
            values::positive_duration("--ping-interval", &args.process.ping_interval)?;
        let identity = match rotation.identity_change {
            IdentityChangeArg::Allow => IdentityChange::Allow,
            IdentityChangeArg::Warn => IdentityChange::Warn,
            IdentityChangeArg::Refuse => IdentityChange::Refuse,
        };
        let upstream = upstream.map(|upstream| upstream.ping_interval(ping_interval));
        let startup = Startup::new(&args.startup, StartupArg::Forever, upstream.as_ref())?;
        let spread = values::duration("--spread", &rotation.spread)?;
        let drain_timeout = match (&args.process.drain_timeout, &args.relay.listen) {
            (Some(text), _) => values::duration("--drain-timeout", text)?,
            (None, Some(_)) => DRAIN_WITH_RELAY,
            (None, None) => DRAIN,
        };
        let around = relay::Around {
            upstream: upstream.as_ref(),
            startup: &startup,
            spread,
            drain_timeout,
        };
        Ok(Self {
            files: files(&args.material)?,
            policy: policy(&args.material)?.identity_change(identity),
            relay: relay::settings(&args.relay, &around)?,
            startup,
            poll_interval: values::positive_duration("--poll-interval", &rotation.poll_interval)?,
            settle: values::duration("--settle", &rotation.settle)?,
            spread,
            preflight: rotation.preflight == Switch::On,
            notify: NotifyConfig::new(&args.notify)?,
            confirm: ConfirmConfig::new(&args.confirm, args.material.usage, upstream.is_some())?,
            paths: publish
                .as_ref()
                .map_or_else(|| paths(&args.material), PublishConfig::paths),
            publish,
            upstream,
            http: values::http_address(&args.process.http)?,
            drain_timeout,
        })
    }
}

impl CheckConfig {
    pub(crate) fn new(args: &CheckArgs) -> Result<Self, ConfigError> {
        let material = &args.material;
        let upstream = Upstream::new(&args.connection, &args.authentication)?;
        refuse_server_usage(material, upstream.as_ref())?;
        let parts = [
            ("certificate", &material.cert),
            ("key", &material.key),
            ("ca", &material.ca),
            ("crl", &material.crl),
            ("issuer", &material.issuer),
        ];
        let min_validity = args.verdict.min_validity.as_deref();
        Ok(Self {
            files: files(material)?,
            paths: parts
                .into_iter()
                .filter_map(|(word, path)| Some((word, path.clone()?)))
                .collect(),
            policy: policy(material)?,
            usage: usage(material),
            upstream,
            min_validity: min_validity
                .map(|text| values::duration("--min-validity", text))
                .transpose()?,
            json: args.verdict.json,
        })
    }
}

fn files(args: &MaterialArgs) -> Result<Files, ConfigError> {
    let Some(certificate) = &args.cert else {
        let problem = match args.key {
            Some(_) => "missing, but a key is given: a key is of no use without its certificate",
            None => "missing: say which certificate to look after",
        };
        return Err(ConfigError::new(
            "--cert (NATS_TLS_CERT)",
            problem,
            EXAMPLE_SET,
        ));
    };
    let Some(roots) = &args.ca else {
        return Err(ConfigError::new(
            "--ca (NATS_TLS_CA)",
            "missing: say which CA the server is checked against; the platform's roots are never used",
            EXAMPLE_SET,
        ));
    };
    if args.crl_strict && args.crl.is_none() {
        return Err(ConfigError::new(
            "--crl-strict (NATS_MTLS_CRL_STRICT)",
            "needs revocation lists, else no server would be acceptable",
            "--crl crl.pem --crl-strict",
        ));
    }
    let mut files = match &args.key {
        Some(key) => Files::new(certificate, key, roots),
        None => Files::combined(certificate, roots),
    };
    if let Some(crl) = &args.crl {
        files = files.crls(crl);
    }
    if let Some(issuer) = &args.issuer {
        files = files.issuer(issuer);
    }
    Ok(files)
}

/// Absolute, because others have another working directory.
fn paths(args: &MaterialArgs) -> Paths {
    let absolute = |path: Option<&PathBuf>| {
        let path = path.cloned().unwrap_or_default();
        std::path::absolute(&path).unwrap_or(path)
    };
    Paths {
        certificate: absolute(args.cert.as_ref()),
        key: absolute(args.key.as_ref().or(args.cert.as_ref())),
        roots: absolute(args.ca.as_ref()),
    }
}

fn policy(args: &MaterialArgs) -> Result<Policy, ConfigError> {
    let skew = values::duration("--clock-skew", &args.clock_skew)?;
    Ok(Policy::default()
        .clock_skew(skew)
        .crl_strict(args.crl_strict)
        .usage(usage(args)))
}

const fn usage(args: &MaterialArgs) -> Usage {
    match args.usage {
        UsageArg::Client => Usage::Client,
        UsageArg::Server => Usage::Server,
    }
}

/// A connection presents the set as a client. A server's own certificate is judged by those who
/// connect to that server; whether some server would take it for a client says nothing about it.
fn refuse_server_usage(
    material: &MaterialArgs,
    upstream: Option<&Upstream>,
) -> Result<(), ConfigError> {
    match (material.usage, upstream) {
        (UsageArg::Server, Some(_)) => Err(ConfigError::new(
            "--usage (NATS_MTLS_USAGE)",
            "`server` and --server (NATS_URL) contradict each other: no client presents the certificate \
             of a server",
            "--usage server --publish-dir /run/nats-tls",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
