//! Where and how the validated set is published.

use std::path::{Path, PathBuf};

use nix::unistd::Group;

use super::ConfigError;
use crate::args::{MaterialArgs, PublishArgs};
use crate::notify::Paths;

/// Where the set goes, and who may read its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishConfig {
    pub(crate) directory: PathBuf,
    pub(crate) access: Access,
    /// Whether revocation lists belong to the set.
    pub(crate) with_crl: bool,
    /// What the chain of a set must lead to; it lies elsewhere.
    pub(crate) issuer: Option<PathBuf>,
}

/// Mode and group of the files that hold the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    /// None: as the directory has it.
    pub(crate) group: Option<u32>,
}

const DIRECTORY: &str = "--publish-dir (NATS_MTLS_PUBLISH_DIR)";
const MODE: &str = "--publish-mode (NATS_MTLS_PUBLISH_MODE)";
const GROUP: &str = "--publish-group (NATS_MTLS_PUBLISH_GROUP)";
const EXAMPLE: &str = "--publish-dir /run/nats-tls --publish-mode 0640 --publish-group nats";
const OWNER_READS: u32 = 0o400;
const GROUP_READS: u32 = 0o040;
/// Nobody else, nothing to execute, and only the owner may write.
const SENSIBLE: u32 = 0o640;

impl PublishConfig {
    /// None without a directory.
    pub(super) fn new(
        args: &PublishArgs,
        material: &MaterialArgs,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(directory) = &args.publish_dir else {
            return match (&args.publish_mode, &args.publish_group) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(without_directory(MODE)),
                (_, Some(_)) => Err(without_directory(GROUP)),
            };
        };
        refuse_source(directory, material)?;
        let group = args.publish_group.as_deref().map(group).transpose()?;
        let mode = match (args.publish_mode.as_deref().map(mode).transpose()?, group) {
            (Some(mode), Some(_)) if mode & GROUP_READS == 0 => {
                return Err(ConfigError::new(
                    GROUP,
                    format!("given, but mode {mode:04o} does not let a group read"),
                    EXAMPLE,
                ));
            }
            (Some(mode), _) => mode,
            (None, Some(_)) => 0o640,
            (None, None) => 0o600,
        };
        Ok(Some(Self {
            directory: directory.clone(),
            access: Access { mode, group },
            with_crl: material.crl.is_some(),
            issuer: material.issuer.clone(),
        }))
    }

    /// What others read.
    pub(super) fn paths(&self) -> Paths {
        let path = |name| {
            let path = self.directory.join(name);
            std::path::absolute(&path).unwrap_or(path)
        };
        Paths {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            roots: path("ca.crt"),
        }
    }
}

fn without_directory(flag: &'static str) -> ConfigError {
    ConfigError::new(flag, "given without --publish-dir", EXAMPLE)
}

/// An agent that reads what it writes would call its own old set a new one.
fn refuse_source(directory: &Path, material: &MaterialArgs) -> Result<(), ConfigError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = absolute(directory);
    let sources = [
        &material.cert,
        &material.key,
        &material.ca,
        &material.crl,
        &material.issuer,
    ];
    let inside = sources
        .into_iter()
        .flatten()
        .find(|path| absolute(path).starts_with(&directory));
    match inside {
        None => Ok(()),
        Some(path) => Err(ConfigError::new(
            DIRECTORY,
            format!(
                "{} is read from it; publish into a directory of its own",
                path.display()
            ),
            EXAMPLE,
        )),
    }
}

fn mode(text: &str) -> Result<u32, ConfigError> {
    let wrong = |problem: String| ConfigError::new(MODE, problem, EXAMPLE);
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = match u32::from_str_radix(digits, 8) {
        Ok(mode) if !digits.starts_with('+') => mode,
        _ => return Err(wrong(format!("{text:?} is not an octal mode"))),
    };
    if mode & !SENSIBLE != 0 {
        return Err(wrong(format!(
            "{mode:04o} lets more than owner and group read the key, or more than the owner write it"
        )));
    }
    if mode & OWNER_READS == 0 {
        return Err(wrong(format!(
            "{mode:04o} does not let the owner, this agent, read what it keeps there"
        )));
    }
    Ok(mode)
}

fn group(name: &str) -> Result<u32, ConfigError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(ConfigError::new(
            GROUP,
            format!("there is no group {name:?} here; a number always works"),
            EXAMPLE,
        )),
        Err(error) => Err(ConfigError::new(
            GROUP,
            format!("the group {name:?} cannot be looked up: {error}"),
            EXAMPLE,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(mode: Option<&str>, group: Option<&str>) -> Result<Access, ConfigError> {
        let directory = ["--publish-dir", "/run/nats-tls"];
        let more = [("--publish-mode", mode), ("--publish-group", group)];
        let more = more
            .into_iter()
            .filter_map(|(flag, value)| Some([flag, value?]));
        let set = ["agent", "run", "--cert", "c", "--ca", "a"];
        let all = set.into_iter().chain(directory).chain(more.flatten());
        match <crate::args::Cli as clap::Parser>::try_parse_from(all)
            .unwrap()
            .command
        {
            crate::args::Command::Run(args) => {
                let config = PublishConfig::new(&args.publish, &args.material)?;
                Ok(config.unwrap().access)
            }
            other => unreachable!("run was asked for, not {other:?}"),
        }
    }

    #[test]
    fn a_key_is_for_its_owner_unless_a_group_is_named() {
        let access = |mode, group| Access { mode, group };
        assert_eq!(publish(None, None), Ok(access(0o600, None)));
        assert_eq!(publish(None, Some("0")), Ok(access(0o640, Some(0))));
        assert_eq!(publish(Some("0440"), None), Ok(access(0o440, None)));
        assert_eq!(publish(Some("400"), None), Ok(access(0o400, None)));
    }

    #[test]
    fn a_mode_that_gives_the_key_away_is_refused() {
        for (mode, problem) in [
            ("0644", "more than owner and group"),
            ("0660", "more than the owner write"),
            ("0700", "more than"),
            ("4600", "more than"),
            ("0200", "does not let the owner"),
            ("0", "does not let the owner"),
            ("rw", "not an octal mode"),
            ("0680", "not an octal mode"),
            ("+600", "not an octal mode"),
            ("", "not an octal mode"),
        ] {
            let error = publish(Some(mode), None).unwrap_err();
            assert!(error.problem.contains(problem), "{mode}: {error}");
        }
    }

    #[test]
    fn a_group_must_exist_and_be_of_use() {
        let error = publish(None, Some("no-such-group")).unwrap_err();
        assert!(error.problem.contains("a number always works"), "{error}");
        let error = publish(Some("0600"), Some("0")).unwrap_err();
        assert!(
            error.problem.contains("does not let a group read"),
            "{error}"
        );
    }
}
