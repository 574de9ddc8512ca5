//! `/metrics` of a running agent against `agent/deploy/prometheus/metrics.txt`, the list that rules
//! and dashboard are checked against: every metric, with exactly its labels and values, in every
//! state of the process; and `promtool check metrics` has nothing to say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::prometheus::{Program, program};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually};

const CONTRACT: &str = include_str!("../../agent/deploy/prometheus/metrics.txt");
/// Generous: it is there to catch a scrape that grows, not to measure.
const SLOWEST: Duration = Duration::from_millis(500);
const LARGEST: usize = 32 * 1024;

/// Label values; none for an open label.
type Labels = BTreeMap<String, Option<BTreeSet<String>>>;
type Series = BTreeMap<String, String>;

/// Name to type and labels.
fn contract() -> Result<BTreeMap<String, (String, Labels)>> {
    let lines = CONTRACT
        .lines()
        .filter(|line| line.starts_with("nats_mtls_"));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().context("no name")?;
            let kind = words.next().context("no type")?;
            let labels = words.map(|label| {
                let (label, values) = label.split_once('=').context("no values")?;
                let values = values.split('|').map(str::to_owned).collect();
                let is_open = values == BTreeSet::from(["*".to_owned()]);
                Ok((label.to_owned(), (!is_open).then_some(values)))
            });
            let labels = labels.collect::<Result<_>>()?;
            Ok((name.to_owned(), (kind.to_owned(), labels)))
        })
        .collect()
}

/// One line of a scrape: name, labels, value.
fn parse(line: &str) -> Result<(String, Series, f64)> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').context("no closing brace")?;
    let labels = labels.split("\",").filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (label, value) = label.split_once("=\"").context("no label value")?;
        Ok((label.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Ok((
        name.to_owned(),
        labels.collect::<Result<_>>()?,
        value.parse()?,
    ))
}

/// Everything in the scrape is in the contract, with its type, its labels and values of them; and
/// counters and histograms have every value of their closed labels. Returns what is there.
fn check(scrape: &str) -> Result<BTreeSet<String>> {
    let contract = contract()?;
    let mut types = BTreeMap::new();
    let mut seen: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in scrape.lines().filter(|line| !line.is_empty()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').context("no type")?;
            ensure!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}: twice"
            );
        }
        if line.starts_with('#') {
            continue;
        }
        let (mut name, mut labels, value) = parse(line).with_context(|| line.to_owned())?;
        // A time that was known and is not any more: a recorder cannot forget a series.
        let is_lost = value.is_nan() && name.ends_with("_timestamp_seconds");
        ensure!(value.is_finite() || is_lost, "{line}");
        for suffix in ["_bucket", "_sum", "_count"] {
            let histogram = name
                .strip_suffix(suffix)
                .filter(|name| contract.contains_key(*name));
            if let Some(histogram) = histogram.map(str::to_owned) {
                ensure!(
                    (suffix == "_bucket") == labels.remove("le").is_some(),
                    "{line}"
                );
                name = histogram;
            }
        }
        let (kind, known) = contract
            .get(&name)
            .with_context(|| format!("not in the contract: {line}"))?;
        ensure!(
            types.get(&name) == Some(kind),
            "{line}: {:?} is not {kind}",
            types.get(&name)
        );
        ensure!(
            labels.keys().eq(known.keys()),
            "{line}: labels are {:?}",
            known.keys()
        );
        let seen = seen.entry(name).or_default();
        for (label, value) in labels {
            let values = known.get(&label).and_then(Option::as_ref);
            ensure!(
                values.is_none_or(|values| values.contains(&value)),
                "{line}: {label}"
            );
            seen.entry(label).or_default().insert(value);
        }
    }
    for (name, (kind, labels)) in &contract {
        let Some(seen) = seen.get(name).filter(|_| kind != "gauge") else {
            continue;
        };
        for (label, values) in labels {
            let complete = values
                .as_ref()
                .is_none_or(|values| seen.get(label) == Some(values));
            ensure!(complete, "{name}: {label} is {:?} only", seen.get(label));
        }
    }
    Ok(seen.into_keys().collect())
}

/// Scrapes, checks, and says what it cost.
async fn scrape(agent: &Agent, state: &str) -> Result<(String, BTreeSet<String>)> {
    let started = Instant::now();
    let answer = agent.get("/metrics").await?;
    let took = started.elapsed();
    println!(
        "{state}: {} bytes in {took:?}, connection included",
        answer.body.len()
    );
    ensure!(answer.status == 200, "{state}: {answer:?}");
    ensure!(answer.body.len() < LARGEST && took < SLOWEST, "{state}");
    promtool(&answer.body)
        .await
        .with_context(|| state.to_owned())?;
    let names = check(&answer.body).with_context(|| format!("{state}:\n{}", answer.body))?;
    Ok((answer.body, names))
}

/// `promtool check metrics` says nothing and succeeds.
async fn promtool(scrape: &str) -> Result<()> {
    let mut check = Command::new(program(Program::Promtool).await?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    check
        .stdin
        .take()
        .context("stdin")?
        .write_all(scrape.as_bytes())?;
    let output = check.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        output.status.success() && said.trim().is_empty(),
        "promtool: {said}"
    );
    Ok(())
}

/// The one value of a series, given as it is written.
fn value(scrape: &str, series: &str) -> Option<f64> {
    scrape
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

const UP: &str = r#"nats_mtls_connection_up{component="nats-mtls-agent"}"#;

#[tokio::test]
async fn every_metric_in_every_state() -> Result<()> {
    let authority = Authority::new("root");
    let issuing = authority.intermediate("issuing");
    let mut server = NatsServer::start(ServerSettings::new(&authority)).await?;
    server.stop().await?;
    let contents = || {
        Contents::new(
            &issuing.issue(&LeafSpec::client("agent")),
            &authority.root_pem(),
        )
    };
    let files = PlainFiles::empty()?;
    let published = tempfile::tempdir()?;
    let agent = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--publish-dir", published.path())
        .flag("--on-rotate-exec", "/bin/true")
        .flag("--confirm-url", server.monitoring_url(""))
        .flag("--server", server.url())
        .flag("--poll-interval", "200ms")
        .flag("--settle", "300ms")
        .flag("--spread", "0s")
        .flag("--listen", "127.0.0.1:0")
        .http()?
        .start()
        .await?;

    eventually(PATIENCE, "HTTP is up", || async {
        Ok(agent.get("/livez").await.ok().map(|_| ()))
    })
    .await?;
    let (text, _) = scrape(&agent, "before the first material").await?;
    ensure!(value(&text, "nats_mtls_generation") == Some(0.0), "{text}");

    files.rename_over(&contents())?;
    eventually(PATIENCE, "an attempt failed", || async {
        let (text, _) = scrape(&agent, "while NATS is down").await?;
        let failed =
            r#"nats_mtls_connect_attempts_total{component="nats-mtls-agent",result="network"}"#;
        ensure!(value(&text, "nats_mtls_generation") <= Some(1.0), "{text}");
        Ok((value(&text, failed) > Some(0.0) && value(&text, UP) == Some(0.0)).then_some(()))
    })
    .await?;

    server.restart().await?;
    let up_on = |generation: f64| {
        let agent = &agent;
        let on = r#"nats_mtls_connection_generation{component="nats-mtls-agent"}"#;
        async move {
            let (text, names) = scrape(agent, "during a rotation").await?;
            let is_up = value(&text, UP) == Some(1.0) && value(&text, on) == Some(generation);
            Ok(is_up.then_some(names))
        }
    };
    eventually(PATIENCE, "up on the first", || up_on(1.0)).await?;
    files.rename_over(&contents())?;
    let names = eventually(PATIENCE, "up on the second", || up_on(2.0)).await?;
    let missing: Vec<_> = contract()?
        .into_keys()
        .filter(|name| !names.contains(name))
        .collect();
    ensure!(missing.is_empty(), "in no scrape: {missing:?}");

    files.remove(Part::Key)?;
    server.stop().await?;
    eventually(PATIENCE, "down, and the files rejected", || async {
        let (text, _) = scrape(&agent, "down, and the files rejected").await?;
        let rejected = r#"nats_mtls_reload_total{result="rejected",reason="read_error"}"#;
        Ok((value(&text, rejected) == Some(1.0) && value(&text, UP) == Some(0.0)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn without_a_server_there_is_no_connection_in_it() -> Result<()> {
    let authority = Authority::new("root");
    let leaf = authority.issue(&LeafSpec::client("agent"));
    let files = PlainFiles::new(&Contents::new(&leaf, &authority.root_pem()))?;
    let agent = AgentCommand::new("run")
        .plain_files(&files)
        .http()?
        .start()
        .await?;
    eventually(PATIENCE, "ready", || async {
        let ready = agent.get("/readyz").await.ok();
        Ok(ready.filter(|answer| answer.status == 200).map(|_| ()))
    })
    .await?;
    let (text, _) = scrape(&agent, "without a server").await?;
    ensure!(value(&text, "nats_mtls_generation") == Some(1.0), "{text}");
    ensure!(!text.contains("component="), "{text}");
    ensure!(!text.contains("nats_mtls_relay_"), "{text}");
    Ok(())
}

/// As large as an agent's scrape can be: more roots and intermediates than are told, with names
/// longer than anybody reads, at a server that has such a chain too.
#[tokio::test]
async fn the_largest_scrape_is_bounded() -> Result<()> {
    let name = |number: u32| format!("{number} {}", "ü".repeat(300));
    let authority = Authority::new(&name(0));
    let issuing = (2..=3).fold(authority.intermediate(&name(1)), |above, number| {
        above.intermediate(&name(number))
    });
    let server_leaf = issuing.issue(&LeafSpec::server());
    let settings = ServerSettings::new(&authority).with_identity(&server_leaf);
    let server = NatsServer::start(settings).await?;
    let roots = (10..50).map(|number| Authority::new(&name(number)).root_pem());
    let roots = roots.chain([authority.root_pem()]).collect::<String>();
    let leaf = issuing.issue(&LeafSpec::client(&name(4)));
    let files = PlainFiles::new(&Contents::new(&leaf, &roots))?;
    let agent = AgentCommand::new("run")
        .plain_files(&files)
        .flag("--server", server.url())
        .flag("--component", "c".repeat(64))
        .http()?
        .start()
        .await?;
    eventually(PATIENCE, "ready", || async {
        let ready = agent.get("/readyz").await.ok();
        Ok(ready.filter(|answer| answer.status == 200).map(|_| ()))
    })
    .await?;
    let (text, _) = scrape(&agent, "with long names").await?;
    let told = text
        .lines()
        .filter(|line| line.starts_with("nats_mtls_certificate_info{"));
    ensure!(told.count() > 8, "{text}");
    ensure!(text.contains("role=\"server\""), "{text}");
    Ok(())
}
