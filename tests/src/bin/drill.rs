//! What `scripts/drill-startup`, `scripts/drill-turbulence` and `scripts/drill-rotation` run:
//! arguments in, progress and one line of verdict out. Exit code 0 passed, 1 failed, 2 wrong usage.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use nats_mtls_tests::drill::rotation::{self, Sabotage, Settings};
use nats_mtls_tests::drill::startup::{Policy, StartupDrill};
use nats_mtls_tests::drill::turbulence::TurbulenceDrill;
use nats_mtls_tests::drill::{Narrator, Outcome, Report, service};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(bin_name = "scripts/drill", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    drill: Drill,
}

/// The scripts have the words for people.
#[derive(Subcommand)]
enum Drill {
    /// NATS away, services started, NATS back
    Startup {
        #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
        outage: Duration,
        #[arg(long, default_value = "forever")]
        startup: Policy,
        #[command(flatten)]
        output: Output,
    },
    /// nats-server restarted again and again
    Turbulence {
        #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(1..=60))]
        factor: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Leaf and CA of a fleet, in waves
    Rotation {
        #[arg(long, default_value = "6", value_parser = clap::value_parser!(u32).range(1..=60))]
        pods: u32,
        #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=60))]
        max_unavailable: u32,
        #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
        reconnect_wait: Duration,
        #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
        handshake_timeout: Duration,
        #[arg(long)]
        sabotage: Option<Sabotage>,
        #[command(flatten)]
        output: Output,
    },
    /// The Rust service of the startup drill
    #[command(hide = true)]
    Service,
}

#[derive(Args)]
struct Output {
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().drill {
        Drill::Startup {
            outage,
            startup: policy,
            output,
        } => {
            let narrator = output.narrator();
            let report = async {
                let program = env::current_exe()?;
                StartupDrill { outage, policy }
                    .run(&program, narrator)
                    .await
            };
            output.conclude("startup", unless_interrupted(report).await)
        }
        Drill::Turbulence { factor, output } => {
            let report = TurbulenceDrill { factor }.run(output.narrator());
            output.conclude("turbulence", unless_interrupted(report).await)
        }
        Drill::Rotation {
            pods,
            max_unavailable,
            reconnect_wait,
            handshake_timeout,
            sabotage,
            output,
        } => {
            let settings = Settings {
                pods,
                max_unavailable,
                reconnect_wait,
                handshake_timeout,
                sabotage,
            };
            let report = rotation::run(&settings, output.narrator());
            output.conclude("rotation", unless_interrupted(report).await)
        }
        Drill::Service => match service::run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// An interrupted drill ends what it started, as any other.
async fn unless_interrupted<R>(drill: impl Future<Output = Result<R>>) -> Result<R> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        report = drill => report,
        _ = terminate.recv() => bail!("interrupted"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

impl Output {
    fn narrator(&self) -> Narrator {
        Narrator::new(self.json)
    }

    fn conclude<R: Report>(&self, drill: &str, outcome: Result<R>) -> ExitCode {
        let (report, problems) = match outcome {
            Ok(report) => {
                let problems = report.problems();
                (Some(report), problems)
            }
            Err(error) => {
                eprintln!("{error:#}");
                let problem = error.to_string();
                let line = problem.lines().next().unwrap_or_default();
                (None, vec![line.to_owned()])
            }
        };
        let outcome = Outcome {
            drill: drill.to_owned(),
            passed: problems.is_empty(),
            problems,
            report,
        };
        if self.json {
            match serde_json::to_string(&outcome) {
                Ok(document) => println!("{document}"),
                Err(error) => eprintln!("{error}"),
            }
        } else {
            match outcome.report.filter(|_| outcome.passed) {
                Some(report) => println!("PASS: {}", report.summary()),
                None => println!("FAIL: {}", outcome.problems.join("; ")),
            }
        }
        if outcome.passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
