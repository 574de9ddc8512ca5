//! One, a hundred and a thousand sessions of one relay: what an idle one holds, how long a rotation takes to reach all,
//! and how long clients stand still meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::bench::plot::{Panel, Picture};
use nats_mtls_tests::bench::usage::Usage;
use nats_mtls_tests::bench::{Row, Sample, quick};
use nats_mtls_tests::load::sessions::{Outcome, Sessions};
use nats_mtls_tests::load::{Client, Endpoint, Hello};
use nats_mtls_tests::metrics::Scrape;
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::process::{be_loud, be_quiet};
use nats_mtls_tests::relay::Relay;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::eventually;

/// Messages a second each way, over all sessions that talk.
const RATE: f64 = 20_000.0;
/// Sessions that talk; each has four threads of the generator.
const TALKERS: usize = 4;
/// Nothing of a connect is under way any more.
const SETTLED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

const KIBIBYTES: f64 = 64.0;
const SECONDS: f64 = 10.0;
const LONGEST_STALL: f64 = 10.0;

pub(crate) async fn run() -> Result<()> {
    // Of sessions, and how often they are moved.
    let cases: &[(usize, u32)] = match quick() {
        true => &[(1, 1), (20, 1)],
        false => &[(1, 10), (100, 10), (1000, 5)],
    };
    raise_open_files();
    let mut all = Vec::new();
    for (count, moves) in cases {
        be_loud();
        let case = Case::run(*count, *moves).await;
        all.push(case.with_context(|| format!("{count} sessions"))?);
    }
    for case in &all {
        case.report()?;
    }
    draw(&all)
}

/// As high as the system lets us: a thousand sessions need more than the usual thousand files.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Whoever lacks them is told by the system, at the connect.
    setrlimit(Resource::Nofile, limit).ok();
}

/// What was seen of one number of sessions.
struct Case {
    count: usize,
    /// KiB of resident memory for each session that only waits.
    idle: f64,
    /// The same after they were all moved.
    moved: f64,
    /// Seconds from the files to the last session.
    took: Vec<f64>,
    outcome: Outcome,
    /// As the relay itself measured it, of all sessions: an upper bound of the 99th percentile in milliseconds.
    held: f64,
}

impl Case {
    async fn run(count: usize, moves: u32) -> Result<Self> {
        let authority = Authority::new("root");
        let servers = [NatsServer::start(ServerSettings::new(&authority)).await?];
        let mut relay = Relay::start(&authority, &servers, |agent| agent).await?;
        let identity = authority.issue(&LeafSpec::client("peer"));
        let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
        let peer = Endpoint::tls(servers[0].port(), config);
        let pid = relay.agent.process().pid();

        // What the first session ever costs is no matter of sessions.
        drop(idle(&relay, 0)?);
        tokio::time::sleep(SETTLED).await;
        let before = Usage::of(pid)?.resident;
        let mut waiting = (0..count)
            .map(|number| idle(&relay, number))
            .collect::<Result<Vec<_>>>()?;
        tokio::time::sleep(SETTLED).await;
        #[expect(clippy::cast_precision_loss, reason = "a thousand at most")]
        let each = |resident: f64| (resident - before) * 1024.0 / count as f64;
        let idle = each(Usage::of(pid)?.resident);

        let talkers = TALKERS.min(count);
        waiting.truncate(count - talkers);
        let mut sessions = Sessions::start(&relay, &servers, &[peer], talkers, RATE).await?;
        let mut took = Vec::new();
        for _ in 0..moves {
            let renew = |relay: &mut Relay| relay.renew(&authority);
            let took = &mut took;
            let all = async move |relay: &Relay| {
                took.push(everybody_moved(relay).await?);
                Ok(())
            };
            sessions
                .moved_after(&mut relay, &servers, renew, all)
                .await?;
            server_shows_it(&servers[0], &relay, waiting.len()).await?;
            tokio::time::sleep(SETTLED).await;
        }
        let outcome = sessions.finish().await?;
        tokio::time::sleep(SETTLED).await;
        let moved = each(Usage::of(pid)?.resident);
        let held = held(&relay).await?;
        be_quiet(); // Nothing failed: nobody wants the logs.
        Ok(Self {
            count,
            idle,
            moved,
            took,
            outcome,
            held,
        })
    }

    fn report(&self) -> Result<()> {
        let count = self.count;
        // What one of them costs is lost among what everything else costs.
        if count > 1 {
            self.report_memory()?;
        }
        let took = Sample::new(self.took.iter().copied());
        Row {
            what: &format!("{count} sessions handed over, from the files to the last one"),
            target: "1,000 in less than 10 s",
            measured: format!("median {:.2}, max {:.2} s", took.median(), took.max()),
            met: Some(took.max() < SECONDS),
        }
        .report()?;
        let stalls = self.stalls();
        let wrong = self.outcome.up().plus(self.outcome.down()).wrong();
        let late = stalls.quantile(0.99);
        Row {
            what: &format!(
                "{} of them talk, 20,000 messages a second each way: longest stall of each handover",
                TALKERS.min(count)
            ),
            target: "p99 at most 10 ms, nothing lost, repeated or reordered",
            measured: format!(
                "median {:.1}, p99 {late:.1}, max {:.1} ms, {wrong} wrong; all {count} were held for at most {:.1} ms at p99",
                stalls.median(),
                stalls.max(),
                self.held
            ),
            met: Some(late <= LONGEST_STALL && self.held <= LONGEST_STALL && wrong == 0),
        }
        .report()
    }

    fn report_memory(&self) -> Result<()> {
        let count = self.count;
        Row {
            what: &format!("{count} idle sessions of a relay: memory for each"),
            target: "at most 64 KiB",
            measured: format!(
                "{:.1} KiB; {:.1} after they were moved {} times",
                self.idle,
                self.moved,
                self.took.len()
            ),
            met: Some(self.idle <= KIBIBYTES),
        }
        .report()
    }

    fn stalls(&self) -> Sample {
        let stalls = self.outcome.stalls();
        Sample::new(stalls.iter().map(|stall| stall.as_secs_f64() * 1e3))
    }
}

/// A client that subscribes and then only waits.
fn idle(relay: &Relay, number: usize) -> Result<Client> {
    let mut client = Client::connect(&relay.endpoint(), &Hello::named(&format!("idle-{number}")))?;
    client.subscribe(&format!("idle.{number}"), 1)?;
    client.flush()?;
    Ok(client)
}

/// Seconds until the relay says that nobody is left behind; called when the files have just changed.
async fn everybody_moved(relay: &Relay) -> Result<f64> {
    let began = Instant::now();
    let fingerprint = relay.identity.fingerprint();
    eventually(PATIENCE, "everybody has moved", || async {
        let status = relay.agent.status().await?;
        let active = &status["active"]["leaf"]["fingerprint_sha256"];
        let behind = status["relay"]["behind"].as_u64();
        Ok((active == fingerprint && behind == Some(0)).then_some(()))
    })
    .await?;
    Ok(began.elapsed().as_secs_f64())
}

/// The server is the judge: of those that wait too.
async fn server_shows_it(server: &NatsServer, relay: &Relay, waiting: usize) -> Result<()> {
    let fingerprint = Some(relay.identity.fingerprint());
    eventually(PATIENCE, "the server shows the new certificate", || async {
        let mut all = server.connections().await?;
        all.retain(|connection| connection.name.starts_with("idle-"));
        ensure!(all.len() == waiting, "{} of {waiting} are there", all.len());
        let is_new = all.iter().all(|one| one.fingerprint() == fingerprint);
        Ok(is_new.then_some(()))
    })
    .await
}

/// The bound of the bucket of the relay's own stalls that 99 of 100 do not exceed, in milliseconds.
async fn held(relay: &Relay) -> Result<f64> {
    const STALLS: &str = "nats_mtls_relay_handover_stall_seconds";
    let scrape = Scrape(relay.agent.get("/metrics").await?.body);
    let all = scrape.sum(&format!("{STALLS}_count"), &[])?;
    let bucket = format!("{STALLS}_bucket{{le=\"");
    let mut bounds = scrape.0.lines().filter_map(|line| {
        let (bound, count) = line.strip_prefix(&bucket)?.split_once("\"} ")?;
        let count: f64 = count.parse().ok()?;
        (count >= 0.99 * all).then(|| bound.parse::<f64>().unwrap_or(f64::INFINITY))
    });
    Ok(bounds.next().context("no such histogram")? * 1e3)
}

fn draw(all: &[Case]) -> Result<()> {
    let panel = |title: &str, value: &dyn Fn(&Case) -> f64| Panel {
        title: title.to_owned(),
        groups: all
            .iter()
            .map(|case| (format!("{} sessions", case.count), vec![Some(value(case))]))
            .collect(),
    };
    Picture {
        name: "sessions",
        title: "Many sessions of one relay, four of them with 20,000 messages a second each way",
        series: &["relay"],
        panels: vec![
            panel("memory of an idle session, KiB", &|case| case.idle),
            panel("all handed over, seconds", &|case| {
                Sample::new(case.took.iter().copied()).median()
            }),
            panel("longest stall at p99, milliseconds", &|case| {
                case.stalls().quantile(0.99)
            }),
        ],
    }
    .save()
}
