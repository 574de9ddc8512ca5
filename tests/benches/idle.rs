//! What `nats-mtls-agent run` costs while nothing happens: one connection, HTTP on, the default
//! poll interval. Read from `/proc`, so it needs Linux.

use std::time::Duration;

use anyhow::Result;
use nats_mtls_tests::agent::AgentCommand;
use nats_mtls_tests::bench::usage::Usage;
use nats_mtls_tests::bench::{Row, quick};
use nats_mtls_tests::files::{Contents, KubernetesVolume};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::service::NAME;
use nats_mtls_tests::wait::{PATIENCE, eventually};

const MEBIBYTES: f64 = 15.0;
/// What counts as not measurable: one part in a thousand of one core.
const SHARE_OF_A_CORE: f64 = 0.001;

#[tokio::main]
async fn main() -> Result<()> {
    let (warm_up, window) = if quick() { (1, 5) } else { (10, 60) };
    let authority = Authority::new("root");
    let identity = authority.issue(&LeafSpec::client(NAME));
    let volume = KubernetesVolume::new(&Contents::new(&identity, &authority.root_pem()))?;
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

    tokio::time::sleep(Duration::from_secs(warm_up)).await;
    let pid = agent.process().pid();
    let before = Usage::of(pid)?;
    tokio::time::sleep(Duration::from_secs(window)).await;
    let after = Usage::of(pid)?;

    println!(
        "after {warm_up} s, over {window} s: resident {:.1} MiB, of it anonymous {:.1}; highest ever {:.1}",
        after.resident, after.anonymous, after.highest
    );
    let resident = before.resident.max(after.resident);
    Row {
        what: "idle agent, resident memory",
        target: "at most 15 MiB",
        measured: format!("{resident:.1} MiB"),
        met: Some(resident <= MEBIBYTES),
    }
    .report()?;
    let milliseconds = after.cpu_milliseconds - before.cpu_milliseconds;
    #[expect(clippy::cast_precision_loss, reason = "a minute at most")]
    let share = milliseconds / (window as f64 * 1e3);
    Row {
        what: &format!("idle agent, CPU over {window} s"),
        target: "not measurable (below 0.1 % of a core)",
        measured: format!("{milliseconds:.1} ms ({:.3} %)", share * 100.0),
        met: Some(share < SHARE_OF_A_CORE),
    }
    .report()
}
