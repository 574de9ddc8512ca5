//! Every query of the shipped dashboard, of panels and of variables, and every query of the runbook
//! is sent to a real Prometheus that scrapes a running agent, and answers what is true. The agent
//! lives through a rotation and an outage first, because counters that stand still make no picture;
//! rules and recorded series are the shipped ones, shortened.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nats_mtls_tests::prometheus::Series;
use nats_mtls_tests::scraped_agent::{COMPONENT, ScrapedAgent};
use nats_mtls_tests::wait::{PATIENCE, eventually};
use serde::Deserialize;

const RUNBOOK: &str = include_str!("../../agent/deploy/RUNBOOK.md");
const FACTOR: u32 = 60;
/// What Grafana shows: here all that has happened.
const SHOWN: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_secs(1);

/// A line of `scripts/check-dashboard --queries`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Query {
    Panel {
        panel: String,
        #[serde(rename = "refId")]
        reference: String,
        instant: bool,
        expr: String,
    },
    Variable {
        variable: String,
        selector: String,
        label: String,
    },
}

fn queries() -> Result<Vec<Query>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check-dashboard");
    let output = Command::new(script).arg("--queries").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let lines = String::from_utf8(output.stdout)?;
    let queries = lines.lines().map(serde_json::from_str);
    Ok(queries.collect::<Result<_, _>>()?)
}

impl Query {
    /// Fails if it brings nothing that could be drawn or chosen.
    async fn has_data(&self, scraped: &ScrapedAgent) -> Result<()> {
        match self {
            Self::Panel {
                panel, reference, ..
            } => {
                let series = self.series(scraped).await?;
                let numbers: usize = series.iter().map(|series| series.numbers().len()).sum();
                ensure!(
                    numbers > 0,
                    "panel \"{panel}\", query {reference}: {series:?}"
                );
                println!("{panel} {reference}: {} series", series.len());
            }
            Self::Variable {
                variable,
                selector,
                label,
            } => {
                let values = scraped.prometheus.label_values(selector, label).await?;
                ensure!(!values.is_empty(), "the variable {variable} has no values");
                println!("${variable}: {values:?}");
            }
        }
        Ok(())
    }

    async fn series(&self, scraped: &ScrapedAgent) -> Result<Vec<Series>> {
        let Self::Panel { instant, expr, .. } = self else {
            bail!("{self:?} is no panel");
        };
        if *instant {
            scraped.prometheus.query(expr).await
        } else {
            scraped.prometheus.query_range(expr, SHOWN, STEP).await
        }
    }

    fn is_of(&self, title: &str) -> bool {
        matches!(self, Self::Panel { panel, .. } if panel == title)
    }
}

fn panel<'a>(queries: &'a [Query], title: &str) -> Result<&'a Query> {
    let found = queries.iter().find(|query| query.is_of(title));
    found.with_context(|| format!("no panel \"{title}\""))
}

/// The one number of a panel of one.
async fn number(scraped: &ScrapedAgent, query: &Query) -> Result<Option<f64>> {
    let series = query.series(scraped).await?;
    Ok(series.iter().flat_map(Series::numbers).next())
}

/// The values of a label among what a panel draws above 0.
async fn drawn(scraped: &ScrapedAgent, query: &Query, label: &str) -> Result<BTreeSet<String>> {
    let mut series = query.series(scraped).await?;
    series.retain(|series| series.numbers().iter().any(|number| *number > 0.0));
    let labels = series.iter().filter_map(|series| series.metric.get(label));
    Ok(labels.cloned().collect())
}

/// What the runbook asks between two of its words: `ask '<expression>'`.
fn asked(from: &str, to: &str) -> Result<Vec<&'static str>> {
    let (_, after) = RUNBOOK.split_once(from).context("not in the runbook")?;
    let (between, _) = after.split_once(to).context("not in the runbook")?;
    let lines = between
        .lines()
        .filter_map(|line| line.strip_prefix("ask '"));
    let expressions: Vec<_> = lines.filter_map(|line| line.strip_suffix('\'')).collect();
    ensure!(expressions.len() > 3, "{expressions:?}");
    Ok(expressions)
}

/// Baseline: every number is there. Validation: nothing is left to say.
async fn runbook(scraped: &ScrapedAgent) -> Result<()> {
    for expression in asked("**Baseline**", "**Turbulence**")? {
        let series = scraped.prometheus.query(expression).await?;
        let has_number = series.iter().any(|series| !series.numbers().is_empty());
        ensure!(has_number, "{expression}: {series:?}");
    }
    for expression in asked("**Validation**", "\n## ")? {
        eventually(PATIENCE, expression, || async {
            let mut series = scraped.prometheus.query(expression).await?;
            // The objective remembers the outage; see the drills.
            series.retain(|series| {
                let alert = series.metric.get("alertname");
                !alert.is_some_and(|alert| alert.starts_with("NatsMtlsAvailability"))
            });
            ensure!(series.is_empty(), "{series:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_panel_variable_and_command() -> Result<()> {
    let queries = queries()?;
    let mut scraped = ScrapedAgent::start(FACTOR).await?;
    // After the first scrape: what was counted before it makes no picture.
    let relay = scraped.agent.relay_address().await?;
    let _legacy = async_nats::connect(format!("nats://{relay}")).await?;
    scraped.rotate().await?;
    eventually(
        PATIENCE,
        "the client of the relay is handed over",
        || async {
            let status = scraped.agent.status().await?;
            Ok((status["relay"]["handovers"]["ok"] == 1).then_some(()))
        },
    )
    .await?;

    scraped.server.stop().await?;
    let alerts = panel(&queries, "Alerts firing")?;
    let down = panel(&queries, "Connections down")?;
    eventually(PATIENCE, "the dashboard shows the outage", || async {
        let firing = drawn(&scraped, alerts, "alertname").await?;
        let is_told = firing.contains("NatsMtlsReconnectsLag");
        Ok((is_told && number(&scraped, down).await? == Some(1.0)).then_some(()))
    })
    .await?;
    // An alert is over once nothing is wrong; this panel has data only now.
    alerts.has_data(&scraped).await?;

    scraped.server.restart().await?;
    scraped.is_connected().await?;
    for query in queries.iter().filter(|query| !query.is_of("Alerts firing")) {
        eventually(PATIENCE, &format!("data for {query:?}"), || async {
            query.has_data(&scraped).await.map(Some)
        })
        .await?;
    }

    eventually(PATIENCE, "the dashboard shows that it is over", || async {
        Ok((number(&scraped, down).await? == Some(0.0)).then_some(()))
    })
    .await?;
    let told = drawn(&scraped, panel(&queries, "Disconnects by cause")?, "cause").await?;
    ensure!(
        told == BTreeSet::from(["network".to_owned(), "rotation".to_owned()]),
        "a rotation and a stopped server are drawn as {told:?}"
    );
    let up = drawn(&scraped, panel(&queries, "Connection up")?, "component").await?;
    ensure!(up == BTreeSet::from([COMPONENT.to_owned()]), "{up:?}");
    runbook(&scraped).await
}
