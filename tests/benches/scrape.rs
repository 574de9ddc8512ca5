//! What a scrape of `nats-mtls-agent run` costs: one connection, a chain with an intermediate, a
//! bundle of roots, HTTP on loopback, a connection for each scrape as the agent serves them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::bench::{Row, Sample, quick};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::process::be_quiet;
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::NAME;
use nats_mtls_tests::wait::{PATIENCE, eventually};

const MILLISECONDS: f64 = 2.0;
const KIBIBYTES: f64 = 32.0;
/// More than are told.
const ROOTS: usize = 12;

#[tokio::main]
async fn main() -> Result<()> {
    let scrapes = if quick() { 100 } else { 2000 };
    let authority = Authority::new("Example Root CA 2026");
    let identity = authority
        .intermediate("Example Issuing CA 7")
        .issue(&LeafSpec::client(NAME));
    let others = (1..ROOTS).map(|number| Authority::new(&format!("Example Root CA {number}")));
    let roots: String = others
        .map(|other| other.root_pem())
        .chain([authority.root_pem()])
        .collect();
    let volume = KubernetesVolume::new(&Contents::new(&identity, &roots))?;
    let server = NatsServer::start(ServerSettings::new(&authority)).await?;
    let agent = AgentCommand::new("run")
        .volume(&volume)
        .flag("--server", server.url())
        .http()?
        .start()
        .await?;
    eventually(PATIENCE, "the agent is ready", || async {
        Ok((agent.get("/readyz").await?.status == 200).then_some(()))
    })
    .await?;
    let address = agent.http_address()?;
    let taken = tokio::task::spawn_blocking(move || {
        (0..scrapes)
            .map(|_| scrape(&address))
            .collect::<Result<Vec<_>>>()
    });
    let taken = taken.await??;
    be_quiet(); // Nothing failed: nobody wants the logs.
    let times = Sample::new(taken.iter().map(|(time, _)| time.as_secs_f64() * 1e3));
    let largest = taken.iter().map(|(_, bytes)| *bytes).max();
    #[expect(clippy::cast_precision_loss, reason = "some thousands of bytes")]
    let kibibytes = largest.context("nothing was scraped")? as f64 / 1024.0;
    let (median, late) = (times.median(), times.quantile(0.99));
    Row {
        what: &format!("/metrics of an agent with one connection; {scrapes} scrapes"),
        target: "p99 below 2 ms, below 32 KiB",
        measured: format!("median {median:.2} ms, p99 {late:.2} ms, {kibibytes:.1} KiB"),
        met: Some(late < MILLISECONDS && kibibytes < KIBIBYTES),
    }
    .report()
}

/// From the connect to the last byte, and how many bytes the body has.
fn scrape(address: &str) -> Result<(Duration, usize)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let took = began.elapsed();
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    ensure!(body.contains("nats_mtls_certificate_info{"), "{body}");
    Ok((took, body.len()))
}
