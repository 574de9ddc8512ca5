//! Unmodified client libraries of other languages: their scenarios in `tests/clients`, run as
//! processes that ask the test to change the world in the middle.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// No scenario takes longer until its next word.
const NEXT_WORD: Duration = Duration::from_secs(90);

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// nats-py
    Python,
    /// nats.js
    Node,
}

/// What a scenario wants to happen before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Certificates change, and everything has moved.
    Rotate,
    /// The server ends and starts again.
    Restart,
}

/// How a scenario went.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// What it said, line by line.
    pub said: Vec<String>,
    /// What its library told of its connections before the scenario closed them: disconnects,
    /// reconnects, errors.
    pub noticed: Vec<String>,
    /// Whether it came to its end.
    pub ended: bool,
}

/// The transcripts of a run, by scenario.
pub type Transcripts = BTreeMap<String, Transcript>;

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// Runs scenarios, `all` or by name, against `url`, and answers what they ask for by doing it;
    /// `on_ask` is told which scenario wants it.
    ///
    /// # Errors
    /// When the library cannot be installed, a scenario hangs, or `on_ask` fails.
    pub async fn run(
        self,
        url: &str,
        scenarios: &[&str],
        mut on_ask: impl AsyncFnMut(&str, Ask) -> Result<()>,
    ) -> Result<Transcripts> {
        let mut child = self
            .command()
            .await?
            .arg(url)
            .args(scenarios)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{self:?}"))?;
        let mut answers = child.stdin.take().context("no stdin")?;
        let output = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(output).lines();
        let mut transcripts = Transcripts::new();
        loop {
            let line = tokio::time::timeout(NEXT_WORD, lines.next_line())
                .await
                .with_context(|| format!("{self:?} hangs; so far {transcripts:#?}"))??;
            let Some(line) = line else { break };
            let Word { scenario, what } =
                serde_json::from_str(&line).with_context(|| line.clone())?;
            let transcript = transcripts.entry(scenario.clone()).or_default();
            match what {
                What::Say(text) => transcript.said.push(text),
                What::End(noticed) => {
                    transcript.noticed = noticed;
                    transcript.ended = true;
                }
                What::Ask(ask) => {
                    let asked = on_ask(&scenario, ask).await;
                    asked.with_context(|| format!("{ask:?}, asked by {scenario} of {self:?}"))?;
                    answers.write_all(b"done\n").await?;
                }
            }
        }
        let status = tokio::time::timeout(NEXT_WORD, child.wait()).await??;
        ensure!(status.success(), "{self:?}: {status}, {transcripts:#?}");
        Ok(transcripts)
    }

    async fn command(self) -> Result<Command> {
        let (name, program, variable, file) = match self {
            Self::Python => ("python", "python3", "PYTHONPATH", "scenarios.py"),
            Self::Node => ("node", "node", "NATS_CLIENTS", "scenarios.mjs"),
        };
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = installed(tests, name).await?;
        let mut command = Command::new(program);
        command
            .env(variable, OsStr::new(installed.trim_end()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(tests.join("clients").join(name).join(file));
        Ok(command)
    }
}

async fn installed(tests: &Path, name: &str) -> Result<String> {
    let script = tests.join("../scripts/clients");
    let output = Command::new(&script)
        .arg(name)
        .output()
        .await
        .with_context(|| script.display().to_string())?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// One line of a scenario.
#[derive(Deserialize)]
struct Word {
    scenario: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Say(String),
    Ask(Ask),
    End(Vec<String>),
}
