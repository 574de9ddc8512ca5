//! What a rotation does to 20,000 messages a second each way: handed over by the relay, reconnected by the library, and
//! by async-nats alone. For scale the relay also goes through moments in which nothing happens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::ConnectOptions;
use nats_mtls_tests::bench::plot::{Panel, Picture};
use nats_mtls_tests::bench::{Row, Sample, quick};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::load::library::LibraryConversation;
use nats_mtls_tests::load::sessions::Sessions;
use nats_mtls_tests::load::{Clock, Conversation, Endpoint, Tally, Topic, Verdict};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::process::be_quiet;
use nats_mtls_tests::relay::Relay;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::Service;
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};

const RATE: f64 = 20_000.0;
/// Between two rotations, and behind the last.
const REST: Duration = Duration::from_millis(200);
const LONGEST_STALL: f64 = 10.0;

const RELAY: &str = "relay";
const LIBRARY: &str = "library";
const PLAIN: &str = "async-nats alone";
const NOTHING: &str = "relay, no rotation";

/// What became of the messages, over all rounds.
#[derive(Default)]
struct Heard {
    up: Tally,
    down: Tally,
    /// Of each rotation, the longest in milliseconds.
    stalls: Vec<f64>,
}

impl Heard {
    fn add(&mut self, up: Tally, down: Tally, stalls: impl IntoIterator<Item = Duration>) {
        self.up = self.up.plus(up);
        self.down = self.down.plus(down);
        let stalls = stalls.into_iter();
        self.stalls
            .extend(stalls.map(|stall| stall.as_secs_f64() * 1e3));
    }

    fn add_windows(&mut self, verdict: &Verdict, windows: &[(Duration, Duration)]) {
        let stalls = windows
            .iter()
            .map(|(from, until)| verdict.longest_stall(*from, *until));
        self.add(verdict.up, verdict.down, stalls);
    }
}

pub(crate) async fn run() -> Result<()> {
    let (rounds, rotations) = if quick() { (1, 2) } else { (5, 8) };
    let mut scene = Scene::start().await?;
    let mut all = [RELAY, LIBRARY, PLAIN, NOTHING].map(|name| (name, Heard::default()));
    for _ in 0..rounds {
        let mut order = [0, 1, 2, 3];
        fastrand::shuffle(&mut order);
        for contender in order {
            let (name, heard) = &mut all[contender];
            match *name {
                RELAY => scene.relay(rotations, heard).await,
                LIBRARY => scene.library(rotations, heard).await,
                PLAIN => scene.plain(rotations, heard).await,
                _ => scene.nothing(rotations, heard).await,
            }
            .context(*name)?;
        }
    }
    be_quiet(); // Nothing failed: nobody wants the logs.
    for (name, heard) in &all {
        report(name, heard)?;
    }
    draw(&all)
}

/// Each has a server of its own.
struct Scene {
    authority: Authority,
    servers: [NatsServer; 1],
    relay: Relay,
    service: Service,
    files: PlainFiles,
    client: async_nats::Client,
    peer: Endpoint,
}

impl Scene {
    async fn start() -> Result<Self> {
        let authority = Authority::new("root");
        let servers = [NatsServer::start(ServerSettings::new(&authority)).await?];
        let relay = Relay::start(&authority, &servers, |agent| agent).await?;
        let identity = authority.issue(&LeafSpec::client("bench"));
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        let client = ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(files.path(Part::Roots))
            .add_client_certificate(files.path(Part::Certificate), files.path(Part::Key))
            .connect(servers[0].url())
            .await?;
        Ok(Self {
            peer: peer(&authority, &servers[0])?,
            service: Service::start().await?,
            authority,
            servers,
            relay,
            files,
            client,
        })
    }

    async fn relay(&mut self, rotations: u32, heard: &mut Heard) -> Result<()> {
        let peers = [self.peer.clone()];
        let sessions = Sessions::start(&self.relay, &self.servers, &peers, 1, RATE);
        let mut sessions = sessions.await?;
        for _ in 0..rotations {
            tokio::time::sleep(REST).await;
            let authority = &self.authority;
            let renew = |relay: &mut Relay| relay.renew(authority);
            sessions
                .moved(&mut self.relay, &self.servers, renew)
                .await?;
        }
        tokio::time::sleep(REST).await;
        let outcome = sessions.finish().await?;
        heard.add(outcome.up(), outcome.down(), outcome.stalls());
        Ok(())
    }

    async fn library(&mut self, rotations: u32, heard: &mut Heard) -> Result<()> {
        let clock = Clock::start();
        let peer = peer(&self.service.authority, &self.service.server)?;
        let client = self.service.connection.client().clone();
        let talk = LibraryConversation::start(client, &peer, &topic(), clock).await?;
        let mut windows = Vec::new();
        let mut generations = self.service.manager.subscribe();
        for _ in 0..rotations {
            tokio::time::sleep(REST).await;
            let from = clock.now();
            generations.borrow_and_update();
            self.service.renew()?;
            tokio::time::timeout(PATIENCE, generations.changed()).await??;
            let generation = *generations.borrow_and_update();
            let reached = self.service.connection.reached(generation);
            tokio::time::timeout(PATIENCE, reached).await?;
            windows.push((from, clock.now() + REST / 2));
        }
        tokio::time::sleep(REST).await;
        heard.add_windows(&talk.finish().await?, &windows);
        Ok(())
    }

    async fn plain(&mut self, rotations: u32, heard: &mut Heard) -> Result<()> {
        let clock = Clock::start();
        let client = self.client.clone();
        let talk = LibraryConversation::start(client, &self.peer, &topic(), clock).await?;
        let mut windows = Vec::new();
        let statistics = self.client.statistics();
        for _ in 0..rotations {
            tokio::time::sleep(REST).await;
            let identity = self.authority.issue(&LeafSpec::client("bench"));
            let contents = Contents::new(&identity, &self.authority.root_pem());
            let before = statistics.connects.load(Ordering::Relaxed);
            let from = clock.now();
            self.files.rename_over(&contents)?;
            self.client.force_reconnect().await?;
            eventually(PATIENCE, "reconnected", || async {
                let connects = statistics.connects.load(Ordering::Relaxed);
                Ok((connects > before).then_some(()))
            })
            .await?;
            windows.push((from, clock.now() + REST / 2));
        }
        tokio::time::sleep(REST).await;
        heard.add_windows(&talk.finish().await?, &windows);
        Ok(())
    }

    async fn nothing(&mut self, windows: u32, heard: &mut Heard) -> Result<()> {
        let clock = Clock::start();
        let endpoint = self.relay.endpoint();
        let talk = Conversation::start(&endpoint, &self.peer, &topic(), clock)?;
        tokio::time::sleep(REST).await;
        let mut all = Vec::new();
        for _ in 0..windows {
            let from = clock.now();
            tokio::time::sleep(REST).await;
            all.push((from, clock.now()));
        }
        heard.add_windows(&talk.finish().await?, &all);
        Ok(())
    }
}

fn peer(authority: &Authority, server: &NatsServer) -> Result<Endpoint> {
    let identity = authority.issue(&LeafSpec::client("peer"));
    let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
    Ok(Endpoint::tls(server.port(), config))
}

fn topic() -> Topic {
    Topic {
        name: "bench".to_owned(),
        rate: RATE,
        size: 128,
    }
}

fn report(name: &str, heard: &Heard) -> Result<()> {
    let stalls = Sample::new(heard.stalls.iter().copied());
    let all = heard.up.plus(heard.down);
    let late = stalls.quantile(0.99);
    let (target, met) = match name {
        RELAY => (
            "0 lost, repeated or reordered; stall at p99 at most 10 ms",
            Some(all.wrong() == 0 && late <= LONGEST_STALL),
        ),
        _ => ("-", None),
    };
    let what = match name {
        NOTHING => format!("{name}, 20,000 messages a second each way"),
        _ => format!(
            "{} rotations under 20,000 messages a second each way: {name}",
            stalls.len()
        ),
    };
    Row {
        what: &what,
        target,
        measured: format!(
            "lost {} published, {} to be received; repeated {}, reordered {}; longest stall: median {:.1}, p99 {late:.1}, max {:.1} ms",
            heard.up.lost,
            heard.down.lost,
            all.repeated,
            all.reordered,
            stalls.median(),
            stalls.max(),
        ),
        met,
    }
    .report()
}

fn draw(all: &[(&str, Heard)]) -> Result<()> {
    let series: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let group = |label: &str, value: &dyn Fn(&Heard) -> f64| {
        let bars = all.iter().map(|(_, heard)| Some(value(heard))).collect();
        (label.to_owned(), bars)
    };
    let stall = |share| move |heard: &Heard| Sample::new(heard.stalls.clone()).quantile(share);
    #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
    let per_rotation = |count: u64, heard: &Heard| count as f64 / heard.stalls.len().max(1) as f64;
    Picture {
        name: "rotation",
        title: "One rotation under 20,000 messages a second each way",
        series: &series,
        panels: vec![
            Panel {
                title: "messages for each rotation".to_owned(),
                groups: vec![
                    group("lost", &|heard| {
                        per_rotation(heard.up.lost + heard.down.lost, heard)
                    }),
                    group("repeated", &|heard| {
                        per_rotation(heard.up.plus(heard.down).repeated, heard)
                    }),
                    group("reordered", &|heard| {
                        per_rotation(heard.up.plus(heard.down).reordered, heard)
                    }),
                ],
            },
            Panel {
                title: "longest stall, milliseconds".to_owned(),
                groups: vec![
                    group("median", &stall(0.5)),
                    group("p99", &stall(0.99)),
                    group("max", &stall(1.0)),
                ],
            },
        ],
    }
    .save()
}
