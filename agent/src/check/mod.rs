//! `check`: judges the files once with the library's own parser, asks the servers if there are any,
//! and tells people or machines. Decides nothing itself.

mod document;
mod findings;
mod picture;

use std::io::{self, Write as _};
use std::time::SystemTime;

use nats_mtls::material::{self, Material, Rejection};
use nats_mtls::nats;
use nats_mtls::source::Source as _;

use crate::args::CheckArgs;
use crate::config::{CheckConfig, Upstream};
use crate::logging;
use crate::outcome::{Outcome, block_on};
use document::Document;
use findings::{Answer, Findings};

/// The command, from arguments to exit code.
pub(crate) fn command(args: &CheckArgs) -> Outcome {
    let config = match CheckConfig::new(args).and_then(|config| {
        logging::start(&args.log, "warn")?;
        Ok(config)
    }) {
        Ok(config) => config,
        Err(error) => return Outcome::wrong_usage(&error),
    };
    block_on(check(config))
}

async fn check(config: CheckConfig) -> Outcome {
    let json = config.json;
    // One moment for the verdict and for every "in 29 days".
    let findings = find(config, SystemTime::now()).await;
    let text = if json {
        match serde_json::to_string_pretty(&Document::of(&findings)) {
            Ok(text) => text + "\n",
            Err(error) => return Outcome::broken("cannot write JSON", &error),
        }
    } else {
        picture::draw(&findings)
    };
    // A reader that closed the pipe early still gets its exit code.
    io::stdout().write_all(text.as_bytes()).ok();
    findings.outcome()
}

async fn find(config: CheckConfig, now: SystemTime) -> Findings {
    let mut findings = Findings::new(now, config.paths, config.min_validity);
    findings.usage = config.usage;
    let mut source = config.files.into_source();
    let raw = match source.read().await {
        Ok(raw) => raw,
        Err(error) => {
            findings.rejection = Some(Rejection::from(error));
            return findings;
        }
    };
    findings.source_warnings = source.warnings();
    let material = match Material::parse(&raw, &config.policy, now) {
        Ok(material) => material,
        Err(rejection) => {
            let readable = material::inspect(&raw);
            findings.chain = readable.chain;
            findings.roots = readable.roots;
            findings.rejection = Some(rejection);
            return findings;
        }
    };
    findings.chain.clone_from(&material.facts().chain);
    findings.roots.clone_from(&material.facts().roots);
    findings.warnings = material.warnings().to_vec();
    findings.valid_until = Some(material.not_after());
    if let Some(upstream) = &config.upstream {
        findings.servers = ask(&material, upstream).await;
    }
    findings
}

async fn ask(material: &Material, upstream: &Upstream) -> Vec<Answer> {
    match nats::preflight(material, &upstream.servers, upstream.settings()).await {
        Ok(answers) => answers
            .into_iter()
            .map(|(server, answer)| Answer::of(server, answer.err()))
            .collect(),
        Err(error) => vec![Answer::local(
            upstream.servers.to_string(),
            error.to_string(),
        )],
    }
}
