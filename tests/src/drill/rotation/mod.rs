//! The rotation drill: leaf and CA of a fleet on a 3-node cluster, in waves with a maximum
//! unavailable. The servers' own view judges each wave; the drill halts at the first that does not
//! converge, and takes the old root away only when every connection of every node shows a
//! certificate of the new one.
//!
//! | file | owns |
//! |---|---|
//! | `plan` | the agent's own arithmetic, and who is in which wave |
//! | `fleet`, `hosted` | the instances: agents as processes, Rust services on the library, each with a log of its own |
//! | `said` | what an instance says in its log; pure judgement |
//! | `view` | what all nodes show, and what follows from it; pure judgement |
//! | `cluster` | the nodes, their trust, and whom they let in |
//! | `stages` | the order of things, and where to halt |
//! | `report`, `picture` | what is told about it, to machines and people |

mod cluster;
mod fleet;
mod hosted;
mod picture;
mod plan;
mod report;
mod said;
mod stages;
mod view;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::Narrator;
use cluster::Cluster;
use fleet::{Fleet, Wanted};
use stages::Drill;

pub use plan::Plan;
pub use report::{Halted, Member, OldRoot, RotationReport, Stage, Verdict, Wave};
pub use view::Laggard;

/// How many nodes the cluster has.
pub const NODES: usize = 3;

/// What is rehearsed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many instances hold a certificate of this kind.
    pub pods: u32,
    /// How many of them may be without NATS at once.
    pub max_unavailable: u32,
    /// As for `nats-mtls-agent plan`.
    pub reconnect_wait: Duration,
    /// As for `nats-mtls-agent plan`.
    pub handshake_timeout: Duration,
    /// What is done so that the drill must halt.
    pub sabotage: Option<Sabotage>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pods: 6,
            max_unavailable: 2,
            reconnect_wait: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(2),
            sabotage: None,
        }
    }
}

/// Ways to keep the CA rotation from being finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// One instance gets a certificate with the key of another.
    BrokenFiles,
    /// One instance gets a leaf of a CA that no server knows.
    ForeignCa,
    /// One agent is frozen (SIGSTOP): its files are in order and nobody reads them.
    Frozen,
    /// A client that is in no wave: nobody renews it.
    Forgotten,
}

/// Runs the drill.
///
/// # Errors
/// When the drill itself cannot go on, for example because a server does not start. A rotation
/// that had to be halted is no error but a [`RotationReport`] that says so.
pub async fn run(settings: &Settings, narrator: Narrator) -> Result<RotationReport> {
    let plan = Plan::ask(settings).await?;
    let cluster = Cluster::start().await.context("the cluster")?;
    let wanted = Wanted {
        pods: settings.pods,
        forgotten: settings.sabotage == Some(Sabotage::Forgotten),
    };
    let fleet = Fleet::start(&wanted, &cluster).await.context("the fleet")?;
    let mut drill = Drill::new(settings, plan, cluster, fleet, narrator).await?;
    let outcome = drill.run().await;
    if !matches!(&outcome, Ok(report) if report.verdict != Verdict::Failed) {
        narrator.show_logs_unless_passed(&outcome);
    }
    outcome
}
