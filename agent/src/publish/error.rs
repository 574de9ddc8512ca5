//! Why a set could not be published: the path, what is wrong with it, and what to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Readers go on seeing what they saw. Only if the flush after the swap fails they see the new set
/// already; it is then taken for not published, because a power failure may bring the old one back.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error(
        "{path}: {found}, which this agent did not make. Give --publish-dir a directory of its own, or move it away"
    )]
    Foreign { path: PathBuf, found: String },
    #[error(
        "{path}: another nats-mtls-agent publishes there. Give each its own --publish-dir, or end the other one"
    )]
    Locked { path: PathBuf },
    #[error("{path}: cannot {action}: {cause}. {}", advice(.action, .cause))]
    Io {
        path: PathBuf,
        action: Action,
        cause: io::Error,
    },
    #[error("the private key of this set cannot be written: it is not in a file")]
    NoKey,
    #[error("{path}: no answer within {seconds} s. Is it a network file system that hangs?")]
    Late { path: PathBuf, seconds: u64 },
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Open,
    Lock,
    List,
    Make,
    Write,
    GiveToGroup,
    Link,
    Swap,
    Flush,
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open the directory",
            Self::Lock => "lock the directory",
            Self::List => "list the directory",
            Self::Make => "make a directory in it",
            Self::Write => "write",
            Self::GiveToGroup => "give it to the group",
            Self::Link => "make a symbolic link",
            Self::Swap => "rename the new link onto the old one",
            Self::Flush => "flush it to the disk",
            Self::Remove => "remove it",
        })
    }
}

fn advice(action: &Action, cause: &io::Error) -> &'static str {
    match (action, cause.kind()) {
        (_, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => {
            "Make room: up to three sets of about 20 KiB are there during a rotation"
        }
        (_, ErrorKind::ReadOnlyFilesystem) => {
            "Mount it writable for the agent, and read-only for the others"
        }
        (Action::Open, ErrorKind::NotFound) => {
            "Create it, or mount a volume there; the agent does not make it, because of typing errors"
        }
        (Action::Open, ErrorKind::NotADirectory) => "Name a directory with --publish-dir",
        (Action::GiveToGroup, ErrorKind::PermissionDenied) => {
            "The agent's user must be in the group of --publish-group"
        }
        (Action::Link, ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            "The file system must have symbolic links: a tmpfs, an emptyDir or a local disk has"
        }
        (_, ErrorKind::CrossesDevices | ErrorKind::ResourceBusy) => {
            "The directory must be on one file system, with nothing mounted inside it"
        }
        (_, ErrorKind::PermissionDenied) => "Make it writable for the agent's user",
        _ => "It is tried again; if it goes on, look at the volume",
    }
}
