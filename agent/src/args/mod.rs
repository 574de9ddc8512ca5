//! Flags and environment as they were written: the command line's shape and its help.
//!
//! Owns names, defaults and help texts. Must not judge values or read files: that is `config`.

mod check;
mod connection;
mod logging;
mod material;
mod notify;
mod plan;
mod publish;
mod relay;
mod run;
mod startup;
mod status;
mod wait;

use clap::builder::Resettable;
use clap::error::Error;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use check::CheckArgs;
pub(crate) use connection::{AuthenticationArgs, ConnectionArgs};
pub(crate) use logging::{LogArgs, LogFormat};
pub(crate) use material::{IdentityChangeArg, MaterialArgs, UsageArg};
pub(crate) use notify::{ConfirmArgs, NotifyArgs};
pub(crate) use plan::PlanArgs;
pub(crate) use publish::PublishArgs;
pub(crate) use relay::{RelayArgs, RotationArg};
pub(crate) use run::{RunArgs, Switch};
pub(crate) use startup::{StartupArg, StartupArgs};
pub(crate) use status::StatusArgs;
pub(crate) use wait::WaitArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0  done: accepted, or ended after a SIGTERM
  1  refused, not ready, or failed while running
  2  wrong usage: a flag or a variable is missing, malformed or contradicts another
  3  nobody could be reached: no NATS server, or no agent for status";

/// Keeps the NATS TLS identity of any process fresh: watches certificate, key and CA files,
/// validates every new set before it is used, and says what is true about it.
#[derive(Debug, Parser)]
#[command(name = "nats-mtls-agent", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The arguments and variables of this process. An empty variable counts as unset: that is what
    /// a template leaves behind where a value is optional.
    pub(crate) fn of_process() -> Result<Self, Error> {
        let command = Self::command();
        let mut command = command.mut_subcommands(|command| command.mut_args(deaf_to_empty));
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

fn deaf_to_empty(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(std::env::var_os);
    if value.is_some_and(|value| value.is_empty()) {
        argument.env(Resettable::Reset)
    } else {
        argument
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the files, keep NATS connections on what is valid, relay clients, answer probes over HTTP
    #[command(after_help = run::AFTER_RUN)]
    Run(Box<RunArgs>),
    /// Judge the files once and say what is right and wrong with them; with --server, ask NATS too
    #[command(after_help = check::AFTER_CHECK)]
    Check(Box<CheckArgs>),
    /// Wait until the files are valid and NATS accepts them, for init containers
    #[command(after_help = wait::AFTER_WAIT)]
    Wait(Box<WaitArgs>),
    /// Ask a running agent what is on disk, active and on the wire, and what to do next
    #[command(after_help = status::AFTER_STATUS)]
    Status(StatusArgs),
    /// Compute what a rotation of a fleet and a start may take, and the probe settings for that
    #[command(after_help = plan::AFTER_PLAN)]
    Plan(PlanArgs),
}
