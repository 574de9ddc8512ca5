//! The arithmetic of a rotation, asked of the agent's `plan`, so that there is one of it; and who
//! is in which wave.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::agent::AgentCommand;
use crate::wait::PATIENCE;

/// What `nats-mtls-agent plan --json` says of the rotation.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Plan {
    /// How many instances.
    pub pods: u32,
    /// How many of them at once.
    pub max_unavailable: u32,
    /// One attempt that fails, until the next begins.
    pub cycle_seconds: f64,
    /// How long a wave may take.
    pub wave_window_seconds: f64,
    /// How many waves.
    pub waves: u32,
    /// All waves, if each takes all of its window.
    pub total_seconds: f64,
}

#[derive(Deserialize)]
struct Document {
    rotation: Plan,
}

impl Plan {
    pub(super) async fn ask(settings: &Settings) -> Result<Self> {
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let answer = AgentCommand::new("plan")
            .flag("--pods", settings.pods.to_string())
            .flag("--max-unavailable", settings.max_unavailable.to_string())
            .flag("--reconnect-wait", milliseconds(settings.reconnect_wait))
            .flag(
                "--handshake-timeout",
                milliseconds(settings.handshake_timeout),
            )
            .argument("--json")
            .run(PATIENCE)
            .await?;
        ensure!(answer.code == Some(0), "plan: {}", answer.stderr);
        let document: Document = serde_json::from_str(&answer.stdout)?;
        Ok(document.rotation)
    }

    /// How long a wave may take until it counts as not converged.
    pub(super) fn wave_window(&self) -> Duration {
        Duration::from_secs_f64(self.wave_window_seconds)
    }

    /// Which of the instances, by their numbers, go in which wave.
    pub(super) fn split(&self) -> Vec<Vec<usize>> {
        let everybody: Vec<_> = (0..self.pods as usize).collect();
        everybody
            .chunks(self.max_unavailable.max(1) as usize)
            .map(<[usize]>::to_vec)
            .collect()
    }
}
