//! `scripts/drill-rotation`: flags, progress for people, JSON for machines, exit code. What is
//! rehearsed is in `drill::rotation`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum, value_parser};
use nats_mtls_tests::drill::rotation::{self, Progress, Sabotage, Settings, Verdict};
use nats_mtls_tests::process::be_quiet;

/// Rotates leaf and CA of a fleet on a 3-node cluster, in waves, and halts where a wave does not
/// converge.
#[derive(Debug, Parser)]
#[command(name = "drill-rotation", after_help = EXIT_CODES)]
struct Arguments {
    /// How many instances; every third is a Rust service on the library, the others are agents
    #[arg(long, value_name = "COUNT", default_value = "6", value_parser = value_parser!(u32).range(1..=60))]
    pods: u32,
    /// How many of them may be without NATS at once: the size of a wave
    #[arg(long, value_name = "COUNT", default_value = "2", value_parser = value_parser!(u32).range(1..=60))]
    max_unavailable: u32,
    /// As for `nats-mtls-agent plan`
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = value_parser!(u64).range(0..=600))]
    reconnect_wait: u64,
    /// As for `nats-mtls-agent plan`
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = value_parser!(u64).range(1..=600))]
    handshake_timeout: u64,
    /// Make it impossible to finish: shows that the drill halts, and that the old root stays
    #[arg(long, value_name = "HOW")]
    sabotage: Option<How>,
    /// One JSON document on standard output; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// At the end print the output of every process
    #[arg(long, conflicts_with = "json")]
    verbose: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 passed, 1 halted or failed, 2 wrong usage.";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    /// One instance gets a certificate with the key of another
    BrokenFiles,
    /// One instance gets a leaf of a CA that no server knows
    ForeignCa,
    /// One agent is frozen: nobody reads its files
    Frozen,
    /// A client that is in no wave
    Forgotten,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = Settings {
        pods: arguments.pods,
        max_unavailable: arguments.max_unavailable,
        reconnect_wait: Duration::from_secs(arguments.reconnect_wait),
        handshake_timeout: Duration::from_secs(arguments.handshake_timeout),
        sabotage: arguments.sabotage.map(|how| match how {
            How::BrokenFiles => Sabotage::BrokenFiles,
            How::ForeignCa => Sabotage::ForeignCa,
            How::Frozen => Sabotage::Frozen,
            How::Forgotten => Sabotage::Forgotten,
        }),
    };
    if !arguments.verbose {
        be_quiet();
    }
    let say = |text: &str| {
        if arguments.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    };
    let mut tell = |progress: &Progress<'_>| say(&words(progress));
    let report = match rotation::run(&settings, &mut tell).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("FAILED drill-rotation: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    say(&format!("\n{}\n{}", report.picture(), report.line()));
    if arguments.json {
        match report.json() {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("FAILED drill-rotation: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match report.verdict() {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Halted | Verdict::Failed => ExitCode::FAILURE,
    }
}

fn words(progress: &Progress<'_>) -> String {
    match progress {
        Progress::Begun(report) => {
            let plan = &report.plan;
            format!(
                "{} instances on {} nodes, at most {} of them at once: {} waves, {} s for each (two cycles of {} s)\n\n{}\n{:>7}  {:<40} {:>5}  {:<22} {:>9}",
                plan.pods,
                rotation::NODES,
                plan.max_unavailable,
                plan.waves,
                plan.wave_window_seconds,
                plan.cycle_seconds,
                report.picture(),
                "time",
                "confirmed by every node",
                "wave",
                "who",
                "took",
            )
        }
        Progress::Confirmed {
            at,
            stage,
            wave,
            picture,
        } => format!(
            "{:>6.2}s  {:<40} {:>5}  {:<22} {:>6} ms  {picture}",
            at.as_secs_f64(),
            stage.name,
            format!("{}/{}", wave.number, wave.of),
            wave.members.join(" "),
            wave.milliseconds,
        ),
    }
}
