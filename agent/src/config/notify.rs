//! Whom to tell about a rotation, in which way.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::hook_url::HookUrl;
use super::{ConfigError, values};
use crate::args::NotifyArgs;

/// The hooks: at most one of each kind.
#[derive(Debug, Clone)]
pub(crate) struct NotifyConfig {
    pub(crate) signal: Option<SignalConfig>,
    pub(crate) exec: Option<ExecConfig>,
    pub(crate) http: Option<PostConfig>,
    /// Whether the first set after the start is told, too.
    pub(crate) first: bool,
}

/// A signal to one process.
#[derive(Debug, Clone)]
pub(crate) struct SignalConfig {
    pub(crate) signal: Signal,
    pub(crate) name: &'static str,
    pub(crate) target: Target,
    /// For finding the process.
    pub(crate) limit: Duration,
}

/// How the process is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    PidFile(PathBuf),
    Name(String),
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecConfig {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) limit: Duration,
}

/// A document to POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostConfig {
    pub(crate) url: HookUrl,
    pub(crate) limit: Duration,
}

const SIGNAL: &str = "--on-rotate-signal (NATS_MTLS_ON_ROTATE_SIGNAL)";
const PID_FILE: &str = "--pid-file (NATS_MTLS_PID_FILE)";
const PROCESS_NAME: &str = "--process-name (NATS_MTLS_PROCESS_NAME)";
const EXEC: &str = "--on-rotate-exec (NATS_MTLS_ON_ROTATE_EXEC)";
const FIRST: &str = "--on-rotate-first (NATS_MTLS_ON_ROTATE_FIRST)";
const EXAMPLE_SIGNAL: &str = "--on-rotate-signal HUP --pid-file /run/nats/nats-server.pid";
const EXAMPLE_NAME: &str = "--on-rotate-signal HUP --process-name nats-server";
const EXAMPLE_EXEC: &str = "--on-rotate-exec \"/usr/bin/systemctl reload 'my service'\"";

/// What programs take as "read your files again", or as "end and be started again". KILL and STOP
/// are left out: no program can act on them.
const SIGNALS: [(&str, Signal); 7] = [
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
];

impl NotifyConfig {
    /// None if nobody is to be told.
    pub(super) fn new(args: &NotifyArgs) -> Result<Option<Self>, ConfigError> {
        let limit = values::positive_duration("--on-rotate-timeout", &args.on_rotate_timeout)?;
        let post = |text| {
            Ok(PostConfig {
                url: HookUrl::parse(text)?,
                limit,
            })
        };
        let config = Self {
            signal: signal(args, limit)?,
            exec: args
                .on_rotate_exec
                .as_deref()
                .map(|text| exec(text, limit))
                .transpose()?,
            http: args.on_rotate_http.as_deref().map(post).transpose()?,
            first: args.on_rotate_first,
        };
        let is_empty = config.signal.is_none() && config.exec.is_none() && config.http.is_none();
        match (is_empty, args.on_rotate_first) {
            (true, true) => Err(ConfigError::new(
                FIRST,
                "given without anybody to tell",
                "--on-rotate-signal HUP --process-name nats-server --on-rotate-first",
            )),
            (true, false) => Ok(None),
            (false, _) => Ok(Some(config)),
        }
    }
}

fn signal(args: &NotifyArgs, limit: Duration) -> Result<Option<SignalConfig>, ConfigError> {
    let Some(name) = args.on_rotate_signal.as_deref() else {
        let flag = match (&args.pid_file, &args.process_name) {
            (None, None) => return Ok(None),
            (Some(_), _) => PID_FILE,
            (None, Some(_)) => PROCESS_NAME,
        };
        return Err(ConfigError::new(
            flag,
            "given without --on-rotate-signal, so there is nothing it could be used for",
            EXAMPLE_SIGNAL,
        ));
    };
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().find(|(known, _)| *known == bare);
    let Some((name, signal)) = known.copied() else {
        let names = SIGNALS.map(|(name, _)| name).join(" ");
        return Err(ConfigError::new(
            SIGNAL,
            format!("{name:?} is none of {names}"),
            EXAMPLE_SIGNAL,
        ));
    };
    Ok(Some(SignalConfig {
        signal,
        name,
        target: target(args)?,
        limit,
    }))
}

fn target(args: &NotifyArgs) -> Result<Target, ConfigError> {
    match (&args.pid_file, &args.process_name) {
        (Some(path), None) => Ok(Target::PidFile(path.clone())),
        (None, Some(name)) if name.is_empty() || name.contains('/') => Err(ConfigError::new(
            PROCESS_NAME,
            "is the file name of a program, without a path",
            EXAMPLE_NAME,
        )),
        (None, Some(name)) => Ok(Target::Name(name.clone())),
        (None, None) => Err(ConfigError::new(
            SIGNAL,
            "needs --pid-file or --process-name: whom to send it to",
            EXAMPLE_SIGNAL,
        )),
        (Some(_), Some(_)) => Err(ConfigError::new(
            PID_FILE,
            "given beside --process-name; name the process in one way",
            EXAMPLE_SIGNAL,
        )),
    }
}

/// Never repeats the command: people put tokens there.
fn exec(text: &str, limit: Duration) -> Result<ExecConfig, ConfigError> {
    let wrong = |problem| ConfigError::new(EXEC, problem, EXAMPLE_EXEC);
    let words = shlex::split(text)
        .ok_or_else(|| wrong("has a quote that is not closed, or ends in a backslash"))?;
    let mut words = words.into_iter();
    let program = words
        .next()
        .filter(|program| !program.is_empty())
        .ok_or_else(|| wrong("names no program"))?;
    if text.contains('\0') {
        return Err(wrong("holds a NUL byte"));
    }
    Ok(ExecConfig {
        program,
        arguments: words.collect(),
        limit,
    })
}
