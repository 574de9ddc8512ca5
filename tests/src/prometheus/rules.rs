//! Rules as Prometheus itself reads them: it parses the file, writes each expression in its own
//! style, and tells them as JSON. So nothing here has to read YAML.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Prometheus, PrometheusSettings};

/// Names and values.
pub type Labels = BTreeMap<String, String>;

/// The scrape interval that the runbook recommends, which the rules are written for.
const RECOMMENDED_INTERVAL: Duration = Duration::from_secs(30);

/// A group of rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Seconds between two evaluations.
    pub interval: f64,
    /// In the order in which they are evaluated.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Whether it alerts or records.
    #[serde(rename = "type")]
    pub kind: RuleKind,
    /// The name of the alert, or of what is recorded.
    pub name: String,
    /// The expression, as Prometheus writes it.
    pub query: String,
    /// Seconds that it must hold before it fires.
    #[serde(default)]
    pub duration: f64,
    /// What it adds.
    #[serde(default)]
    pub labels: Labels,
    /// Texts for people.
    #[serde(default)]
    pub annotations: Labels,
    /// `ok` once it was evaluated, `unknown` before.
    pub health: String,
    /// Why it is not.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// What a rule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// An alert.
    Alerting,
    /// A series.
    Recording,
}

/// An alert that is not silent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// `alertname` is among them.
    pub labels: Labels,
    /// `pending` or `firing`.
    pub state: String,
}

impl Alert {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// Whether it fires, rather than waits for its time.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.state == "firing"
    }
}

/// The rules that are shipped, with the recommended interval.
///
/// # Errors
/// When there is no Prometheus, or it does not take them.
pub async fn shipped() -> Result<Vec<Group>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../agent/deploy/prometheus/nats-mtls.rules.yml");
    read(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?).await
}

/// A file of rules, through a Prometheus that scrapes nothing.
///
/// # Errors
/// When there is no Prometheus, or it does not take them.
pub async fn read(rules: String) -> Result<Vec<Group>> {
    let reader = Prometheus::start(PrometheusSettings {
        target: None,
        interval: RECOMMENDED_INTERVAL,
        lookback: Duration::from_secs(300),
        rules,
    })
    .await?;
    reader.rules().await
}

/// The groups as a file of rules. In JSON, which is YAML too.
#[must_use]
pub fn rule_file(groups: &[Group]) -> String {
    let groups: Vec<_> = groups
        .iter()
        .map(|group| {
            json!({
                "name": group.name,
                "interval": milliseconds(group.interval),
                "rules": group.rules.iter().map(rule).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "groups": groups }).to_string()
}

fn rule(rule: &Rule) -> Value {
    match rule.kind {
        RuleKind::Recording => json!({
            "record": rule.name,
            "expr": rule.query,
            "labels": rule.labels,
        }),
        RuleKind::Alerting => json!({
            "alert": rule.name,
            "expr": rule.query,
            "for": milliseconds(rule.duration),
            "labels": rule.labels,
            "annotations": rule.annotations,
        }),
    }
}

/// A duration as Prometheus reads it.
pub(super) fn milliseconds(seconds: f64) -> String {
    format!("{:.0}ms", seconds * 1000.0)
}
