//! nats-server is restarted again and again, then stays away: do the shipped alerts fire, and do
//! they end when it is over?
//!
//! A real Prometheus scrapes a running agent and evaluates the shipped rules, whose times are
//! divided by a factor; no threshold is changed, so the server is restarted that much more often.

mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::{MissedTickBehavior, interval};

use super::Narrator;
use crate::scraped_agent::ScrapedAgent;
use crate::wait::{PATIENCE, eventually};

pub use report::{AlertSeen, TurbulenceReport};

/// Six reconnects in ten minutes, for fifteen minutes.
pub const CHURN: &str = "NatsMtlsReconnectChurn";
/// Down for five minutes.
pub const LAG: &str = "NatsMtlsReconnectsLag";

/// Nothing fires before anything is done.
const BASELINE: Duration = Duration::from_secs(5 * 60);
/// Ten in the window of ten minutes, where six are too many.
const RESTART_EVERY: Duration = Duration::from_secs(60);
/// Longer than window and `for` of each of the two, several times.
const FIRES_WITHIN: Duration = Duration::from_secs(60 * 60);
const CLEARS_WITHIN: Duration = Duration::from_secs(30 * 60);

/// How the drill is to be run.
#[derive(Debug, Clone, Copy)]
pub struct TurbulenceDrill {
    /// Every time in the rules is divided by this.
    pub factor: u32,
}

impl TurbulenceDrill {
    /// Runs it.
    ///
    /// # Errors
    /// When the stage cannot be set; that an alert does not fire or does not clear is a finding of
    /// the report.
    pub async fn run(self, narrator: Narrator) -> Result<TurbulenceReport> {
        narrator.say("starting nats-server, the agent and Prometheus");
        let scraped = ScrapedAgent::start(self.factor).await?;
        narrator.say(format_args!(
            "Prometheus at {} scrapes the agent, every rule works; 10 min of the rules are {:?} here",
            scraped.prometheus.url(),
            scraped.shortened(Duration::from_secs(600)),
        ));
        let mut stage = Stage {
            report: TurbulenceReport::new(self.factor),
            scraped,
            narrator,
        };
        let played = stage.play().await;
        let outcome = played.map(|()| stage.report.clone());
        narrator.show_logs_unless_passed(&outcome);
        outcome
    }
}

struct Stage {
    scraped: ScrapedAgent,
    narrator: Narrator,
    report: TurbulenceReport,
}

impl Stage {
    async fn play(&mut self) -> Result<()> {
        self.baseline().await?;
        if self.churn().await? {
            self.outage().await?;
        }
        self.validate().await
    }

    async fn baseline(&mut self) -> Result<()> {
        let window = self.scraped.shortened(BASELINE);
        self.narrator.say("baseline: nothing may fire");
        let mut look = interval(window / 20);
        for _ in 0..20 {
            look.tick().await;
            self.report
                .fired_in_baseline
                .extend(self.scraped.firing().await?);
        }
        Ok(())
    }

    /// Whether the alert has fired and ended.
    async fn churn(&mut self) -> Result<bool> {
        let every = self.scraped.shortened(RESTART_EVERY);
        let narrator = self.narrator;
        narrator.say(format_args!(
            "turbulence: nats-server is restarted every {every:?}"
        ));
        let began = Instant::now();
        let deadline = self.scraped.shortened(FIRES_WITHIN) + PATIENCE;
        let mut pace = interval(every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_pending = false;
        while began.elapsed() < deadline {
            pace.tick().await;
            self.scraped.server.restart().await?;
            self.scraped.is_connected().await?;
            self.report.restarts += 1;
            let alerts = self.scraped.prometheus.alerts().await?;
            let churn = alerts.iter().find(|alert| alert.name() == CHURN);
            let Some(churn) = churn else { continue };
            if churn.is_firing() {
                self.report.churn.fired(began.elapsed());
                break;
            }
            if !was_pending {
                let restarts = self.report.restarts;
                narrator.say(format_args!("{CHURN} is pending after {restarts} restarts"));
                was_pending = true;
            }
        }
        if self.report.churn.fired_after_seconds.is_none() {
            return Ok(false);
        }
        narrator.say(format_args!(
            "{CHURN} fires after {} restarts; now the server is left alone",
            self.report.restarts
        ));
        self.report.churn.cleared_after_seconds = self.clears(CHURN).await;
        Ok(self.report.churn.cleared_after_seconds.is_some())
    }

    /// The same for an outage that is too long.
    async fn outage(&mut self) -> Result<()> {
        self.narrator.say("outage: nats-server is stopped");
        self.scraped.server.stop().await?;
        self.report.restarts += 1;
        let began = Instant::now();
        let deadline = self.scraped.shortened(FIRES_WITHIN) + PATIENCE;
        let fires = eventually(deadline, LAG, || async {
            let firing = self.scraped.firing().await?;
            Ok(firing.iter().any(|name| name == LAG).then_some(()))
        });
        if fires.await.is_ok() {
            self.report.lag.fired(began.elapsed());
            self.narrator
                .say(format_args!("{LAG} fires; nats-server is started"));
        }
        self.scraped.server.restart().await?;
        self.scraped.is_connected().await?;
        if self.report.lag.fired_after_seconds.is_some() {
            self.report.lag.cleared_after_seconds = self.clears(LAG).await;
        }
        Ok(())
    }

    /// Seconds until it neither fires nor is pending any more.
    async fn clears(&self, name: &str) -> Option<f64> {
        let began = Instant::now();
        let deadline = self.scraped.shortened(CLEARS_WITHIN) + PATIENCE;
        let cleared = eventually(deadline, name, || async {
            let alerts = self.scraped.prometheus.alerts().await?;
            Ok((!alerts.iter().any(|alert| alert.name() == name)).then_some(()))
        });
        cleared.await.ok()?;
        self.narrator.say(format_args!("{name} has cleared"));
        Some(began.elapsed().as_secs_f64())
    }

    /// What Prometheus remembers of it all.
    async fn validate(&mut self) -> Result<()> {
        let prometheus = &self.scraped.prometheus;
        let fired = "count by (alertname) (max_over_time(ALERTS{alertstate=\"firing\"}[1d]))";
        for series in prometheus.query(fired).await? {
            let name = series.metric.get("alertname").context("no alertname")?;
            self.report.fired.insert(name.clone());
        }
        let total = async |name: &str| {
            let total = prometheus.number(&format!("sum({name})")).await?;
            total.with_context(|| format!("Prometheus has no {name}"))
        };
        // The last reconnect may be one scrape away; what then still differs is for the report.
        eventually(PATIENCE, "all is counted", || async {
            let disconnects = total("nats_mtls_disconnect_total").await?;
            Ok((disconnects == total("nats_mtls_reconnect_total").await?).then_some(()))
        })
        .await
        .ok();
        self.report.disconnects = total("nats_mtls_disconnect_total").await?;
        self.report.reconnects = total("nats_mtls_reconnect_total").await?;
        let ended = self.scraped.agent.process().exit_status()?;
        ensure!(ended.is_none(), "the agent has ended: {ended:?}");
        Ok(())
    }
}
