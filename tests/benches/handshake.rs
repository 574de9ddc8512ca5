//! A TLS handshake through the serial configuration beside one through a plain static rustls
//! configuration: same server, same process, same thread, in turns of random order.
//!
//! The static configuration takes part twice; the ratio of those two is what noise alone does.
//! Both sides of a handshake are counted, over an in-memory stream: on this scale the loopback's
//! jitter would hide the difference that is looked for.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nats_mtls::{ServerNames, TlsVersions};
use nats_mtls_tests::bench::{Row, Sample, quick};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::service;
use nats_mtls_tests::tls::{TlsVersion, certified_key, roots};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const TARGET: f64 = 1.02;
const RESAMPLES: usize = 1000;

fn main() -> Result<()> {
    let rounds = if quick() { 100 } else { 5000 };
    // One thread: the scheduler has nothing to decide.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (version, library) in [
        (TlsVersion::Tls13, TlsVersions::Tls13Only),
        (TlsVersion::Tls12, TlsVersions::Tls12Only),
    ] {
        runtime.block_on(compare(version, library, rounds))?;
    }
    Ok(())
}

async fn compare(version: TlsVersion, library: TlsVersions, rounds: usize) -> Result<()> {
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(service::NAME));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
    let manager = service::builder(&volume)
        .poll_interval(std::time::Duration::from_secs(3600))
        .tls_versions(library)
        .build()
        .await?;
    let serial = manager.serial_client_config(ServerNames::configured(["localhost"])?)?;
    let fixed = fixed(version, &identity, &authority.root_pem())?;

    let acceptor = acceptor(version, &authority)?;
    // In the order of `Contestant`; each has an `Arc` of its own, as every client has.
    let connectors = [serial.client_config(), fixed.clone(), fixed]
        .map(|config| TlsConnector::from(Arc::new(config)));

    for connector in &connectors {
        for _ in 0..rounds / 20 {
            handshake(connector, &acceptor).await?;
        }
    }
    let mut taken = [const { Vec::new() }; 3];
    let mut order = [0, 1, 2];
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for contestant in order {
            let time = handshake(&connectors[contestant], &acceptor).await?;
            taken[contestant].push(time);
        }
    }
    report(version, &taken)
}

/// Microseconds until both sides are done.
async fn handshake(connector: &TlsConnector, acceptor: &TlsAcceptor) -> Result<f64> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("localhost")?;
    let began = Instant::now();
    let (client, server) = tokio::try_join!(connector.connect(name, near), acceptor.accept(far))?;
    let took = began.elapsed();
    drop((client, server));
    Ok(took.as_secs_f64() * 1e6)
}

fn report(version: TlsVersion, [serial, fixed, again]: &[Vec<f64>; 3]) -> Result<()> {
    let version = version.as_str();
    let microseconds = |sample: &Vec<f64>| Sample::new(sample.iter().copied()).median();
    println!(
        "TLS {version}, {} rounds: median {:.1} µs serial, {:.1} µs static, {:.1} µs static again",
        serial.len(),
        microseconds(serial),
        microseconds(fixed),
        microseconds(again),
    );
    let ratio = Ratio::of(serial, fixed);
    let noise = Ratio::of(again, fixed);
    println!("  serial / static {ratio}");
    println!("  static / static {noise}");
    Row {
        what: &format!("handshake, serial / static config, TLS {version}"),
        target: "at most 1.02",
        measured: format!(
            "{:.3} (95 %: {:.3} to {:.3})",
            ratio.medians, ratio.low, ratio.high
        ),
        met: Some(ratio.medians <= TARGET),
    }
    .report()
}

/// How two paired series compare.
struct Ratio {
    medians: f64,
    trimmed_means: f64,
    low: f64,
    high: f64,
}

impl Ratio {
    /// The interval is a percentile bootstrap over rounds: of what was measured together, both
    /// are drawn or neither.
    fn of(one: &[f64], other: &[f64]) -> Self {
        let medians = |one: Vec<f64>, other: Vec<f64>| {
            Sample::new(one).median() / Sample::new(other).median()
        };
        let resampled = (0..RESAMPLES).map(|_| {
            let rounds = one.len();
            let (ones, others) = (0..rounds)
                .map(|_| fastrand::usize(..rounds))
                .map(|round| (one[round], other[round]))
                .unzip();
            medians(ones, others)
        });
        let resampled = Sample::new(resampled);
        let trimmed = |series: &[f64]| Sample::new(series.iter().copied()).trimmed_mean(0.1);
        Self {
            medians: medians(one.to_vec(), other.to_vec()),
            trimmed_means: trimmed(one) / trimmed(other),
            low: resampled.quantile(0.025),
            high: resampled.quantile(0.975),
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "of medians {:.4} (95 %: {:.4} to {:.4}), of trimmed means {:.4}",
            self.medians, self.low, self.high, self.trimmed_means
        )
    }
}

/// What a service without rotation would use: rustls alone, and no resumption either.
fn fixed(version: TlsVersion, identity: &Identity, roots_pem: &str) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots(roots_pem)?),
        Arc::clone(&provider),
    )
    .build()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version.rustls()])?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key(identity)?)));
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn acceptor(version: TlsVersion, authority: &Authority) -> Result<TlsAcceptor> {
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots(&authority.root_pem())?),
        Arc::clone(&provider),
    )
    .build()?;
    let identity = certified_key(&authority.issue(&LeafSpec::server()))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version.rustls()])
        .context("one version")?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    Ok(Arc::new(config).into())
}
