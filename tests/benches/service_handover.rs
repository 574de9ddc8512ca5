//! What `ConnectSettings::handover()` costs a Rust service: the same client with and without, in
//! one process, beside one server, in turns of random order. Only the ratios say something.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt as _;
use nats_mtls::{CertificateManager, ConnectSettings, Connection};
use nats_mtls_tests::bench::{Row, Sample, quick};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::load::publisher::{Plan, Publisher};
use nats_mtls_tests::load::requests::Responder;
use nats_mtls_tests::load::{Client, Clock, Endpoint, Hello, Pace};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service;
use nats_mtls_tests::tls::TlsVersion;

const SIZES: [usize; 2] = [128, 16 * 1024];
/// Bytes of payload in one measurement of throughput, and messages at most.
const VOLUME: usize = 512 * 1024 * 1024;
const MESSAGES: usize = 500_000;
/// More than this under way, and the server would call the subscriber slow.
const WINDOW: u64 = 2_000;
/// Enough that what one of them takes shows.
const CONNECTIONS: usize = 100;

struct Scene {
    server: NatsServer,
    manager: CertificateManager,
    /// A raw connection beside what is measured.
    beside: Endpoint,
    _volume: KubernetesVolume,
}

#[tokio::main]
async fn main() -> Result<()> {
    let rounds = if quick() { 1 } else { 9 };
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(service::NAME));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
    let scene = Scene {
        beside: Endpoint::tls(server.port(), config),
        manager: service::builder(&volume)
            .poll_interval(Duration::from_secs(3600))
            .build()
            .await?,
        server,
        _volume: volume,
    };
    memory(&scene).await?;

    let direct = scene.connect("direct", false).await?;
    let relayed = scene.connect("relayed", true).await?;
    let pair = [&direct, &relayed];
    for size in SIZES {
        let count = (VOLUME / size).min(MESSAGES) / if quick() { 20 } else { 1 };
        let up = interleave(rounds, pair, |connection| {
            publish(&scene, connection, size, count)
        });
        ratio(&format!("publishing {size} B"), &up.await?)?;
        let down = interleave(rounds, pair, |connection| {
            subscribe(&scene, connection, size, count)
        });
        ratio(&format!("subscribing {size} B"), &down.await?)?;
    }
    let _responder = Responder::open(&scene.beside, "ask")?;
    latency(rounds, pair).await
}

impl Scene {
    async fn connect(&self, name: &str, handover: bool) -> Result<Connection> {
        let mut settings = ConnectSettings::new().component(name);
        if handover {
            settings = settings.handover();
        }
        Ok(self.manager.connect(self.server.url(), settings).await?)
    }
}

/// One measurement of each in each round: of the direct connection, of the relayed one.
async fn interleave<'a, F>(
    rounds: usize,
    pair: [&'a Connection; 2],
    measure: impl Fn(&'a Connection) -> F,
) -> Result<[Vec<f64>; 2]>
where
    F: Future<Output = Result<f64>>,
{
    let mut measured = [Vec::new(), Vec::new()];
    for connection in pair {
        measure(connection).await?;
    }
    let mut order = [0, 1];
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for which in order {
            measured[which].push(measure(pair[which]).await?);
        }
    }
    Ok(measured)
}

fn ratio(what: &str, [direct, relayed]: &[Vec<f64>; 2]) -> Result<()> {
    let median = |values: &[f64]| Sample::new(values.iter().copied()).median();
    let (direct, relayed) = (median(direct), median(relayed));
    Row {
        what: &format!("a Rust service with handover, {what}, share of a direct connection's rate"),
        target: "-",
        measured: format!(
            "{:.2} ({:.0}k of {:.0}k msg/s)",
            relayed / direct,
            relayed / 1e3,
            direct / 1e3
        ),
        met: None,
    }
    .report()
}

/// Messages a second until the server has had all of them.
#[expect(clippy::cast_precision_loss, reason = "a count of messages")]
async fn publish(scene: &Scene, connection: &Connection, size: usize, count: usize) -> Result<f64> {
    // Answered behind whatever was published before.
    let subject = format!("end.{}", fastrand::u64(..));
    let _responder = Responder::open(&scene.beside, &subject)?;
    let client = connection.client();
    let payload = Bytes::from(vec![0; size]);
    let began = Instant::now();
    for _ in 0..count {
        client.publish("bench.up", payload.clone()).await?;
    }
    client.request(subject, "".into()).await?;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Messages a second of a publisher that sends what is taken.
#[expect(clippy::cast_precision_loss, reason = "a count of messages")]
async fn subscribe(
    scene: &Scene,
    connection: &Connection,
    size: usize,
    count: usize,
) -> Result<f64> {
    let client = connection.client();
    let subject = format!("bench.down.{}", fastrand::u64(..));
    let mut messages = client.subscribe(subject.clone()).await?;
    client.publish(subject.clone(), "first".into()).await?;
    messages.next().await.context("closed")?;
    let received = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut publisher = Client::connect(&scene.beside, &Hello::named("publisher"))?;
    publisher.flush()?;
    let plan = Plan {
        subject,
        publisher: 0,
        size,
        pace: Pace::Saturate {
            window: WINDOW.min((8 * 1024 * 1024 / size) as u64),
            received: std::sync::Arc::clone(&received),
        },
    };
    let began = Instant::now();
    let publishing = Publisher::start(publisher.line(), plan, Clock::start())?;
    for _ in 0..count {
        messages.next().await.context("closed")?;
        received.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    let took = began.elapsed().as_secs_f64();
    publishing.stop()?;
    messages.unsubscribe().await?;
    Ok(count as f64 / took)
}

/// One request after the other, in microseconds.
async fn latency(rounds: usize, pair: [&Connection; 2]) -> Result<()> {
    let mut trips = [Vec::new(), Vec::new()];
    let count = if quick() { 200 } else { 1_000 };
    let mut order = [0, 1];
    for round in 0..=rounds {
        fastrand::shuffle(&mut order);
        for which in order {
            for _ in 0..count {
                let began = Instant::now();
                pair[which]
                    .client()
                    .request("ask", "a question".into())
                    .await?;
                // The first round warms up.
                if round > 0 {
                    trips[which].push(began.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
    }
    let [direct, relayed] = trips.map(Sample::new);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (direct, relayed) = (direct.quantile(share), relayed.quantile(share));
        Row {
            what: &format!("a Rust service with handover, request and reply, {name}"),
            target: "-",
            measured: format!(
                "{relayed:.0} µs, {direct:.0} µs direct: {:+.0} µs, {:.2} times",
                relayed - direct,
                relayed / direct
            ),
            met: None,
        }
        .report()?;
    }
    Ok(())
}

/// Resident memory of one more idle connection.
async fn memory(scene: &Scene) -> Result<()> {
    let mut taken = [0.0; 2];
    let mut kept = Vec::new();
    // What only the first one takes.
    for (name, handover) in [("first direct", false), ("first relayed", true)] {
        kept.push(scene.connect(name, handover).await?);
    }
    for (which, handover) in [(0, false), (1, true)] {
        let before = resident()?;
        for number in 0..CONNECTIONS {
            let name = format!("{number} {handover}");
            kept.push(scene.connect(&name, handover).await?);
        }
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let each = (resident()? - before) / CONNECTIONS as f64;
        taken[which] = each;
    }
    Row {
        what: "a Rust service with handover, memory of one idle connection more",
        target: "-",
        measured: format!("{:.0} KiB, {:.0} KiB direct", taken[1], taken[0]),
        met: None,
    }
    .report()
}

/// KiB.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("VmRSS")?.parse()?)
}
