//! From `rename(2)` of `..data` until nats-server's own `/connz` shows the new certificate on the
//! live connection: preflight on, no spread, on loopback.
//!
//! Beside it, in turns and on the same server, what async-nats offers by itself: options with
//! paths, which it reads again at each connect, and `force_reconnect` at the very moment of the
//! rename, as if a perfect watcher had called it. Nothing validates there, and nobody asks first.
//!
//! Nothing is subtracted: the end is when the answer that shows the certificate has been read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, ConnectOptions};
use nats_mtls_tests::bench::{Row, Sample, quick};
use nats_mtls_tests::connz::Connections;
use nats_mtls_tests::files::{Contents, KubernetesVolume, Part};
use nats_mtls_tests::pki::{Identity, LeafSpec};
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::PATIENCE;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

const MEDIAN: f64 = 25.0;
const PERCENTILE_99: f64 = 100.0;
const BASELINE: &str = "baseline";
/// Between two looks at `/connz`, beside the time that a look takes.
const PAUSE: Duration = Duration::from_micros(500);
/// Between two rotations: everything of the last one is over, and no pace limit is near.
const REST: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<()> {
    let rotations = if quick() { 10 } else { 200 };
    let marks = Marks::default();
    tracing_subscriber::registry()
        .with(marks.clone().with_filter(LevelFilter::DEBUG))
        .init();

    let mut service = Service::start_with(
        |server| server,
        // As in production: what is noticed is noticed by the watcher, or 10 s late.
        |manager| manager.poll_interval(Duration::from_secs(10)),
        |settings| settings,
    )
    .await?;
    let mut baseline = Baseline::start(&service).await?;
    let mut watcher = Connz::new(service.server.monitoring_url("/connz?auth=1"));
    for _ in 0..3 {
        rotate(&mut service, &mut watcher).await?;
        baseline.rotate(&service, &mut watcher).await?;
    }
    watcher.looks.clear();

    let (mut ours, mut theirs, mut phases) = (Vec::new(), Vec::new(), Phases::default());
    for _ in 0..rotations {
        marks.clear();
        let rotation = rotate(&mut service, &mut watcher).await?;
        phases.add(&rotation, &marks.take());
        ours.push(rotation.took());
        let rotation = baseline.rotate(&service, &mut watcher).await?;
        theirs.push(rotation.took());
    }

    println!("{rotations} rotations each, in turns; milliseconds");
    println!(
        "/connz was read every {:.2} in the median, {:.2} at the 99th percentile",
        Sample::new(watcher.looks.clone()).median(),
        Sample::new(watcher.looks).quantile(0.99)
    );
    phases.print();
    let (ours, theirs) = (Sample::new(ours), Sample::new(theirs));
    report(
        "rotation, rename(2) to /connz",
        &ours,
        Some((MEDIAN, PERCENTILE_99)),
    )?;
    report(
        "the same with path options and no preflight (async-nats alone)",
        &theirs,
        None,
    )
}

fn report(what: &str, sample: &Sample, targets: Option<(f64, f64)>) -> Result<()> {
    let (median, last) = (sample.median(), sample.quantile(0.99));
    Row {
        what,
        target: &targets.map_or("-".to_owned(), |(median, last)| {
            format!("median at most {median:.0} ms, p99 at most {last:.0} ms")
        }),
        measured: format!(
            "median {median:.1}, p90 {:.1}, p99 {last:.1}, max {:.1} ms",
            sample.quantile(0.9),
            sample.max()
        ),
        met: targets.map(|(most, most_last)| median <= most && last <= most_last),
    }
    .report()
}

/// When the files changed and when the server showed it.
struct Rotation {
    renamed: Instant,
    seen: Instant,
}

impl Rotation {
    /// Milliseconds.
    fn took(&self) -> f64 {
        milliseconds(self.seen - self.renamed)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn rotate(service: &mut Service, watcher: &mut Connz) -> Result<Rotation> {
    let identity = service.authority.renew(&service.identity);
    let contents = Contents::new(&identity, &service.authority.root_pem());
    let volume = &mut service.volume;
    let rotation = tokio::task::block_in_place(|| {
        let renamed = volume.replace(&contents)?;
        watcher.wait_for(NAME, &identity, renamed)
    })?;
    service.identity = identity;
    let generation = service.manager.snapshot().generation();
    service.connection.reached(generation).await;
    tokio::time::sleep(REST).await;
    Ok(rotation)
}

/// What async-nats does with files that change.
struct Baseline {
    client: Client,
    volume: KubernetesVolume,
}

impl Baseline {
    async fn start(service: &Service) -> Result<Self> {
        let identity = service.authority.issue(&LeafSpec::client(BASELINE));
        let contents = Contents::new(&identity, &service.authority.root_pem());
        let volume = KubernetesVolume::new(&contents)?;
        let client = ConnectOptions::new()
            .name(BASELINE)
            .require_tls(true)
            .add_root_certificates(volume.path(Part::Roots))
            .add_client_certificate(volume.path(Part::Certificate), volume.path(Part::Key))
            .connect(service.server.url())
            .await?;
        Ok(Self { client, volume })
    }

    async fn rotate(&mut self, service: &Service, watcher: &mut Connz) -> Result<Rotation> {
        let identity = service.authority.issue(&LeafSpec::client(BASELINE));
        let contents = Contents::new(&identity, &service.authority.root_pem());
        let renamed = self.volume.replace(&contents)?;
        self.client.force_reconnect().await?;
        let rotation =
            tokio::task::block_in_place(|| watcher.wait_for(BASELINE, &identity, renamed))?;
        tokio::time::sleep(REST).await;
        Ok(rotation)
    }
}

/// Reads `/connz` without rest, on one kept connection.
struct Connz {
    agent: ureq::Agent,
    url: String,
    /// Milliseconds from one look to the next.
    looks: Vec<f64>,
}

impl Connz {
    fn new(url: String) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build()
            .into();
        Self {
            agent,
            url,
            looks: Vec::new(),
        }
    }

    fn wait_for(&mut self, name: &str, identity: &Identity, renamed: Instant) -> Result<Rotation> {
        let mut last = Instant::now();
        while renamed.elapsed() < PATIENCE {
            let text = self
                .agent
                .get(&self.url)
                .call()?
                .body_mut()
                .read_to_string()?;
            let seen = Instant::now();
            let clients: Connections = serde_json::from_str(&text).context(text)?;
            if clients.connections.iter().any(|client| {
                client.name == name && client.fingerprint() == Some(identity.fingerprint())
            }) {
                return Ok(Rotation { renamed, seen });
            }
            std::thread::sleep(PAUSE);
            self.looks.push(milliseconds(last.elapsed()));
            last = Instant::now();
        }
        bail!("nats-server never showed the new certificate of {name}")
    }
}

/// The moments of a rotation, by what the library and async-nats log.
#[derive(Clone, Default)]
struct Marks(Arc<Mutex<Vec<(Instant, String)>>>);

impl Marks {
    fn take(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn clear(&self) {
        self.take();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Marks {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        struct Message(Option<String>);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = Some(format!("{value:?}"));
                }
            }
        }
        let now = Instant::now();
        let mut message = Message(None);
        event.record(&mut message);
        if let Some(message) = message.0 {
            let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            marks.push((now, message));
        }
    }
}

/// A step of a rotation, ended by the first such message after the step before.
const STEPS: [(&str, &str); 9] = [
    ("noticed, read twice and judged", "connecting to server"),
    ("preflight: TCP and INFO", "upgrading connection to TLS"),
    ("preflight: root store, TLS, PONG", "connected successfully"),
    ("published", "published new material"),
    ("move asked for", "connecting to server"),
    ("move: TCP and INFO", "upgrading connection to TLS"),
    ("move: root store, TLS, PONG", "connected successfully"),
    ("noticed by the library", "reconnected"),
    ("seen in /connz", ""),
];

#[derive(Default)]
struct Phases {
    steps: [Vec<f64>; STEPS.len()],
    incomplete: u32,
}

impl Phases {
    fn add(&mut self, rotation: &Rotation, marks: &[(Instant, String)]) {
        let mut moments = Vec::new();
        let mut marks = marks.iter().filter(|(at, _)| *at >= rotation.renamed);
        for (_, message) in STEPS {
            if !message.is_empty() {
                let Some((at, _)) = marks.find(|(_, text)| text == message) else {
                    self.incomplete += 1;
                    return;
                };
                moments.push(*at);
            }
        }
        let mut before = rotation.renamed;
        for (step, at) in self.steps.iter_mut().zip(moments) {
            step.push(milliseconds(at - before));
            before = at;
        }
        // The server may show it before the client has heard so: counted from the rename.
        if let Some(last) = self.steps.last_mut() {
            last.push(rotation.took());
        }
    }

    fn print(&self) {
        if self.incomplete > 0 {
            println!("{} rotations are left out of the steps", self.incomplete);
        }
        println!("{:36} {:>8} {:>8} {:>8}", "step", "median", "p90", "p99");
        for ((what, _), step) in STEPS.iter().zip(&self.steps) {
            if step.is_empty() {
                continue;
            }
            let sample = Sample::new(step.iter().copied());
            println!(
                "{what:36} {:>8.2} {:>8.2} {:>8.2}",
                sample.median(),
                sample.quantile(0.9),
                sample.quantile(0.99)
            );
        }
    }
}
