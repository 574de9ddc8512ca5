//! `nats-mtls-agent`: the library's logic for services that are not written in Rust or cannot be
//! changed. Raw arguments, then a checked configuration, then a command; no logic of its own that
//! a Rust service would also want.

mod args;
mod check;
mod config;
mod confirm;
mod duties;
mod exchange;
mod http;
mod logging;
mod notify;
mod outcome;
mod plan;
mod publish;
mod reload;
mod run;
mod service_manager;
mod signals;
mod start;
mod status;
mod usage;
mod wait;
mod words;

use std::process::ExitCode;

use args::{Cli, Command};
use outcome::Outcome;

fn main() -> ExitCode {
    match Cli::of_process() {
        Ok(cli) => dispatch(&cli.command),
        Err(error) => usage::explain(&error),
    }
    .into()
}

fn dispatch(command: &Command) -> Outcome {
    match command {
        Command::Run(args) => run::command(args),
        Command::Check(args) => check::command(args),
        Command::Wait(args) => wait::command(args),
        Command::Status(args) => status::command(args),
        Command::Plan(args) => plan::command(args),
    }
}
