//! NATS is away when services start, and comes back: do they recover by themselves?
//!
//! Three kinds of services: the agent, a Rust service that links the library, and `wait` as an
//! init container. Recovered is who nats-server itself shows as connected, and whose readiness
//! says so if it has any.

mod probes;
mod report;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::supervised::Supervised;
use super::{Narrator, service};
use crate::agent::AgentCommand;
use crate::files::{Contents, PlainFiles};
use crate::http;
use crate::pki::{Authority, LeafSpec};
use crate::scraped_agent::COMPONENT;
use crate::server::{NatsServer, ServerSettings};

pub use probes::{ProbeAnswers, Probes};
pub use report::{Policy, Service, Services, StartupReport};

/// Between two looks at probes, processes and server.
const LOOK: Duration = Duration::from_millis(50);
/// The longest pause between two passes over the servers is 5 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// After everybody has recovered: nothing falls over again.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// How the drill is to be run.
#[derive(Debug, Clone, Copy)]
pub struct StartupDrill {
    /// How long NATS stays away once the services have started.
    pub outage: Duration,
    /// The policy of the agent and of the Rust service.
    pub policy: Policy,
}

impl StartupDrill {
    /// Runs it. `program` is the binary `drill`, which is the Rust service too.
    ///
    /// # Errors
    /// When the stage cannot be set; that services do not recover is a finding of the report.
    pub async fn run(self, program: &Path, narrator: Narrator) -> Result<StartupReport> {
        let mut stage = Stage::set(self, program, narrator).await?;
        let played = stage.play().await;
        let outcome = played.map(|()| stage.report.clone());
        narrator.show_logs_unless_passed(&outcome);
        outcome
    }
}

struct Stage {
    drill: StartupDrill,
    narrator: Narrator,
    agent: Supervised,
    rust: Supervised,
    wait: Supervised,
    http: String,
    server: NatsServer,
    look: Interval,
    report: StartupReport,
    said: String,
    _files: PlainFiles,
}

impl Stage {
    async fn set(drill: StartupDrill, program: &Path, narrator: Narrator) -> Result<Self> {
        // Built before NATS goes away, so that the outage is as long as was asked for.
        crate::agent::binary().await?;
        let authority = Authority::new("drill root");
        let leaf = authority.issue(&LeafSpec::client("drill"));
        let files = PlainFiles::new(&Contents::new(&leaf, &authority.root_pem()))?;
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        server.stop().await?;
        narrator.say(format_args!("nats-server at {} is stopped", server.url()));

        let agent = |command| {
            AgentCommand::new(command)
                .plain_files(&files)
                .flag("--server", server.url())
        };
        let budget = humantime::format_duration(drill.outage + PATIENCE).to_string();
        let wait = agent("wait").flag("--startup-budget", budget);
        let run = agent("run")
            .flag("--startup", drill.policy.as_str())
            .http()?;
        let rust = service::command(program, &files, &server.url(), drill.policy);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stage = Self {
            drill,
            narrator,
            agent: Supervised::start(run.command().await?)?,
            rust: Supervised::start(rust)?,
            wait: Supervised::start(wait.command().await?)?,
            http: run.http_address()?,
            server,
            look,
            report: StartupReport::new(drill.policy, drill.outage),
            said: String::new(),
            _files: files,
        };
        narrator.say(format_args!(
            "started: the agent and a Rust service (policy {}), and `wait`",
            drill.policy.as_str()
        ));
        Ok(stage)
    }

    async fn play(&mut self) -> Result<()> {
        self.wait_while_away().await?;
        let back = self.bring_back().await?;
        self.recover(back).await
    }

    async fn wait_while_away(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < self.drill.outage {
            self.look.tick().await;
            self.agent.tend()?;
            self.rust.tend()?;
            ensure!(!self.wait.is_done()?, "`wait` says that NATS is there");
            if let Some(answers) = self.probe().await {
                self.report.probes.away(answers);
            }
        }
        Ok(())
    }

    /// Returns the moment when the server listens.
    async fn bring_back(&mut self) -> Result<Instant> {
        self.server.restart().await?;
        self.narrator.say("nats-server listens again");
        Ok(Instant::now())
    }

    async fn recover(&mut self, back: Instant) -> Result<()> {
        let mut until = back + PATIENCE;
        while Instant::now() < until {
            self.look.tick().await;
            self.agent.tend()?;
            self.rust.tend()?;
            let clients = self.server.connections().await?;
            let is_shown = |name| clients.iter().any(|client| client.name == name);
            let (agent, rust) = (is_shown(COMPONENT), is_shown(service::NAME));
            let answers = self.probe().await;
            let was_ready = self.report.services.agent.recovered().is_some();
            if let Some(answers) = answers {
                self.report.probes.back(answers, was_ready);
            }
            let is_ready = answers.is_some_and(|answers| answers.is_ready());
            let services = &mut self.report.services;
            let mut news = Vec::new();
            news.extend(services.agent.is_up(agent && is_ready, back.elapsed()));
            news.extend(services.rust.is_up(rust, back.elapsed()));
            if services.wait.recovered().is_none() {
                news.extend(services.wait.is_up(self.wait.is_done()?, back.elapsed()));
            }
            for line in &news {
                self.narrator.say(line);
            }
            if !news.is_empty() && services.have_recovered() {
                until = Instant::now() + AFTERWARDS;
            }
        }
        let services = &mut self.report.services;
        services.agent.restarts = self.agent.restarts;
        services.rust.restarts = self.rust.restarts;
        services.wait.restarts = self.wait.restarts;
        Ok(())
    }

    /// Asks all three; nothing while the agent does not listen, before its start or between two.
    async fn probe(&mut self) -> Option<Probes> {
        let ask = async |path: &str| {
            let url = format!("http://{}{path}", self.http);
            http::get(&url).await.ok().map(|answer| answer.status)
        };
        // Readiness first: who is ready has started, so the other order could see a contradiction.
        let answers = Probes {
            readyz: ask("/readyz").await?,
            startupz: ask("/startupz").await?,
            livez: ask("/livez").await?,
        };
        let line = format!("the agent's probes: {answers}");
        if line != self.said {
            self.narrator.say(&line);
            self.said = line;
        }
        Some(answers)
    }
}
