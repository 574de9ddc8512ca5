//! A network of a test's own, in which every packet can be made to vanish: no RST, no FIN, no ACK,
//! and a SYN that nobody hears.
//!
//! A test that asks for one runs once more, alone, as a process in a new network namespace: it has
//! nothing but a loopback, and `tc` may give that a queue without room. Nothing of the machine's own
//! network changes, and no privilege is needed where user namespaces are allowed.

use std::env;
use std::future::Future;
use std::io::{self, Write as _};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::server;

/// Which test a process was started for.
const INSIDE: &str = "NATS_MTLS_TEST_NETWORK";
const NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--net"];

/// The loopback of this process, which is all the network it has.
pub struct OwnNetwork(());

/// Runs `body` in a network of its own. `test` is the full name of the calling test.
///
/// Where namespaces are forbidden (some containers) or `ip` and `tc` are missing, that is an error in
/// CI, and elsewhere `SKIPPED` on stderr.
///
/// # Errors
/// When the body fails; its output is then in the error.
pub async fn in_its_own<Body, Done>(test: &str, body: Body) -> Result<()>
where
    Body: FnOnce(OwnNetwork) -> Done,
    Done: Future<Output = Result<()>>,
{
    if env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        run("ip", &["link", "set", "lo", "up"]).await?;
        return body(OwnNetwork(())).await;
    }
    if let Err(error) = is_possible().await {
        ensure!(env::var_os("CI").is_none(), "{test}: {error:#}");
        // Not `eprintln!`: the test runner hides what a passed test says.
        writeln!(io::stderr(), "SKIPPED: {test}: {error:#}")?;
        return Ok(());
    }
    let inside = Command::new("unshare")
        .args(NAMESPACE)
        .arg(env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        // Found here, because there it cannot be fetched.
        .env("NATS_SERVER", server::binary()?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = [inside.stdout, inside.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        inside.status.success() && said.contains("1 passed"),
        "{test} in a network of its own: {}\n{said}",
        inside.status
    );
    Ok(())
}

impl OwnNetwork {
    /// From now on every packet is lost, in both directions, without a word to anybody.
    ///
    /// # Errors
    /// When `tc` cannot do it.
    pub async fn swallow(&self) -> Result<()> {
        let full = ["qdisc", "add", "dev", "lo", "root", "pfifo", "limit", "0"];
        run("tc", &full).await.map(|_| ())
    }

    /// Packets arrive again. How many were lost meanwhile.
    ///
    /// # Errors
    /// When nothing was lost, or `tc` cannot do it.
    pub async fn restore(&self) -> Result<u64> {
        let shown = run("tc", &["-s", "qdisc", "show", "dev", "lo"]).await?;
        run("tc", &["qdisc", "del", "dev", "lo", "root"]).await?;
        let (_, after) = shown
            .split_once("(dropped ")
            .with_context(|| shown.clone())?;
        let (dropped, _) = after.split_once(',').with_context(|| shown.clone())?;
        let dropped = dropped.parse()?;
        ensure!(dropped > 0, "nothing was lost: {shown}");
        Ok(dropped)
    }
}

async fn is_possible() -> Result<()> {
    let script = "ip link set lo up && tc qdisc add dev lo root pfifo limit 0";
    let arguments = [&NAMESPACE[..], &["sh", "-c", script]].concat();
    run("unshare", &arguments).await.map(|_| ()).context(
        "a network of one's own needs user namespaces, and `ip` and `tc` (Debian: iproute2)",
    )
}

async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}
