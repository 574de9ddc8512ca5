//! What the relay is measured by, beside what people use today. One program, because linking takes minutes: the
//! arguments name the parts that run; all of them if none is named.

mod latency;
mod rotation;
mod sessions;
mod throughput;

use std::future::Future;

use anyhow::{Context as _, Result};
use nats_mtls_tests::process::be_loud;

#[tokio::main]
async fn main() -> Result<()> {
    part("throughput", throughput::run()).await?;
    part("latency", latency::run()).await?;
    part("rotation", rotation::run()).await?;
    part("sessions", sessions::run()).await
}

async fn part(name: &'static str, run: impl Future<Output = Result<()>>) -> Result<()> {
    let mut named = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .peekable();
    if named.peek().is_some() && named.all(|other| other != name) {
        return Ok(());
    }
    // The part before may have asked for quiet, after it had succeeded.
    be_loud();
    run.await.context(name)
}
