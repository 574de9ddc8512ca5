//! A real Prometheus on loopback, killed on drop, and promtool beside it.
//!
//! Prometheus chooses its port itself and says it in its log, so that no test can take another's.
//! What is asked here is what its own pages and Grafana ask: `/api/v1/…`.

mod rules;
mod shorten;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;

use crate::http;
use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

pub use rules::{Alert, Group, Labels, Rule, RuleKind, read, rule_file, shipped};
pub use shorten::shorten;

/// What it scrapes and evaluates.
#[derive(Debug, Clone)]
pub struct PrometheusSettings {
    /// The `host:port` that serves `/metrics`, under the job `agent`.
    pub target: Option<String>,
    /// Between two scrapes, and between two evaluations of a group without an interval of its own.
    pub interval: Duration,
    /// How long a sample counts as the current value.
    pub lookback: Duration,
    /// A file of rules, in YAML or, what is the same to Prometheus, in JSON.
    pub rules: String,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    // Before the directory, so that the process has ended when its files go away.
    process: Process,
    _directory: TempDir,
}

/// One series of an answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Series {
    /// Its name and labels.
    #[serde(default)]
    pub metric: Labels,
    /// Its value, of an instant query.
    value: Option<Sample>,
    /// Its values, of a range query.
    #[serde(default)]
    values: Vec<Sample>,
}

/// A moment in Unix seconds and a number, which Prometheus writes as text.
type Sample = (f64, String);

impl Series {
    /// Every value in it that is a number, oldest first.
    #[must_use]
    pub fn numbers(&self) -> Vec<f64> {
        let samples = self.value.iter().chain(&self.values);
        let values = samples.filter_map(|(_, text)| text.parse::<f64>().ok());
        values.filter(|value| value.is_finite()).collect()
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct QueryData {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct AlertsData {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct GroupsData {
    groups: Vec<Group>,
}

impl Prometheus {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When there is none, or it refuses the rules: the error has its log.
    pub async fn start(settings: PrometheusSettings) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        fs::write(path.join("rules.yml"), &settings.rules)?;
        fs::write(path.join("prometheus.yml"), settings.configuration())?;
        let mut command = Command::new(program(Program::Prometheus).await?);
        command
            .current_dir(path)
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg("--web.listen-address=127.0.0.1:0")
            .arg(format!(
                "--query.lookback-delta={}ms",
                settings.lookback.as_millis()
            ));
        let process = Process::start("prometheus", &mut command, path)?;
        let url = eventually(PATIENCE, "Prometheus is ready", || async {
            if let Some(status) = process.exit_status()? {
                return Ok(Some(Err(status)));
            }
            let Some(url) = listening_on(&process.stderr()) else {
                return Ok(None);
            };
            let answer = http::get(&format!("{url}/-/ready")).await?;
            Ok((answer.status == 200).then_some(Ok(url)))
        })
        .await
        .with_context(|| process.stderr())?;
        match url {
            Ok(url) => Ok(Self {
                url,
                process,
                _directory: directory,
            }),
            Err(status) => bail!("Prometheus ended with {status}:\n{}", process.stderr()),
        }
    }

    /// Where its pages are.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The series of an expression now.
    ///
    /// # Errors
    /// When it does not answer, or refuses the expression.
    pub async fn query(&self, expression: &str) -> Result<Vec<Series>> {
        let data: QueryData = self.ask("query", &[("query", expression)]).await?;
        Ok(data.result)
    }

    /// The one number of an expression now; none if it has no series.
    ///
    /// # Errors
    /// As [`Prometheus::query`], and when it has more than one.
    pub async fn number(&self, expression: &str) -> Result<Option<f64>> {
        let series = self.query(expression).await?;
        ensure!(
            series.len() <= 1,
            "{expression} has {} series",
            series.len()
        );
        Ok(series.iter().flat_map(Series::numbers).next())
    }

    /// The series of an expression from `window` ago until now.
    ///
    /// # Errors
    /// When it does not answer, or refuses the expression.
    pub async fn query_range(
        &self,
        expression: &str,
        window: Duration,
        step: Duration,
    ) -> Result<Vec<Series>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        let (start, end) = (seconds(now.saturating_sub(window)), seconds(now));
        let parameters = [
            ("query", expression),
            ("start", &start),
            ("end", &end),
            ("step", &seconds(step)),
        ];
        let data: QueryData = self.ask("query_range", &parameters).await?;
        Ok(data.result)
    }

    /// The values of a label among the series of a selector, as Grafana's `label_values` asks.
    ///
    /// # Errors
    /// When it does not answer, or refuses the selector.
    pub async fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        self.ask(&format!("label/{label}/values"), &[("match[]", selector)])
            .await
    }

    /// Every alert that is pending or firing now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn alerts(&self) -> Result<Vec<Alert>> {
        let data: AlertsData = self.ask("alerts", &[]).await?;
        Ok(data.alerts)
    }

    /// The rules as it read them, and how each of them is doing.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn rules(&self) -> Result<Vec<Group>> {
        let data: GroupsData = self.ask("rules", &[]).await?;
        Ok(data.groups)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T> {
        let url = format!("{}/api/v1/{path}", self.url);
        let answer: Answer<T> = http::ask(&url, parameters).await?.json()?;
        if let Some(error) = answer.error {
            bail!("Prometheus refuses {parameters:?}: {error}");
        }
        answer.data.context("an answer without data")
    }
}

impl PrometheusSettings {
    fn configuration(&self) -> String {
        let interval = format!("{}ms", self.interval.as_millis());
        let jobs = self
            .target
            .iter()
            .map(|target| json!({"job_name": "agent", "static_configs": [{"targets": [target]}]}));
        json!({
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": ["rules.yml"],
            "scrape_configs": jobs.collect::<Vec<_>>(),
        })
        .to_string()
    }
}

/// The address in its log line `msg="Listening on" address=127.0.0.1:41234`.
fn listening_on(log: &str) -> Option<String> {
    let (_, after) = log.split_once("msg=\"Listening on\" address=")?;
    let (address, _) = after.split_once(char::is_whitespace)?;
    Some(format!("http://{address}"))
}

/// Which of the two programs of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The server.
    Prometheus,
    /// The checker of rules and metrics.
    Promtool,
}

/// Where it is: found, or installed, by `scripts/promtool`.
///
/// # Errors
/// When there is none; the error says what to do.
pub async fn program(which: Program) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/promtool");
    let mut command = tokio::process::Command::new(&script);
    if which == Program::Prometheus {
        command.arg("--prometheus");
    }
    let output = command
        .output()
        .await
        .with_context(|| script.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}
