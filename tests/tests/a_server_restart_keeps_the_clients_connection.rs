//! A server that restarts is not noticed by the clients of the relay, unless they have the beginning of
//! a message whose end will never come: their TCP connections stay, their subscriptions are made again.
//!
//! What was under way to or from the server is lost, as it is for any client of NATS. Nothing is
//! repeated or reordered, and what a client says during the outage waits until it is over.

use anyhow::{Result, ensure};
use nats_mtls_tests::load::inbox::{Book, Inbox};
use nats_mtls_tests::load::publisher::{Plan, Publisher};
use nats_mtls_tests::load::{Clock, Endpoint, Hello, Pace};
use nats_mtls_tests::pki::{Authority, LeafSpec};
use nats_mtls_tests::relay::{Relay, places};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::tls::TlsVersion;
use nats_mtls_tests::wait::{PATIENCE, eventually};

const RATE: f64 = 2_000.0;
const SIZE: usize = 128;
/// So many have come before the restart, and after it.
const WARM: u64 = 1_000;
const BUSY: &str = "load.busy";
const QUIET: &str = "load.quiet";

#[tokio::test]
async fn of_a_busy_publisher_and_a_quiet_subscriber() -> Result<()> {
    let authority = Authority::new("root");
    let mut servers = [NatsServer::start(ServerSettings::new(&authority)).await?];
    let relay = Relay::start(&authority, &servers, |agent| agent).await?;
    let identity = authority.issue(&LeafSpec::client("listener"));
    let config = TlsVersion::Tls13.fixed_config(&identity, &authority.root_pem())?;
    let direct = Endpoint::tls(servers[0].port(), config);
    let clock = Clock::start();
    let book = || Book::new(0, SIZE, clock);
    let heard = book();
    let listen = || Inbox::open(&direct, &Hello::named("listener"), BUSY, heard.clone());
    let comes = async |more: u64| {
        let from = heard.received();
        eventually(PATIENCE, "messages come", || async {
            Ok((heard.received() >= from + more).then_some(()))
        })
        .await
    };
    let through = relay.endpoint();
    let busy = Inbox::open(&through, &Hello::named("busy"), "load.nothing", book())?;
    let quiet = Inbox::open(&through, &Hello::named("quiet"), QUIET, book())?;
    let names = ["busy".to_owned(), "quiet".to_owned()];
    places(&servers, &names, Some(relay.identity.fingerprint())).await?;
    let first = listen()?;
    let plan = Plan {
        subject: BUSY.to_owned(),
        publisher: 0,
        size: SIZE,
        pace: Pace::Rate(RATE),
    };
    let publisher = Publisher::start(busy.line(), plan, clock)?;
    comes(WARM).await?;
    let before = heard.read(|ledger| ledger.tally(0));
    ensure!(before.wrong() == 0, "{before:?}");

    servers[0].restart().await?;
    // A direct client is told by its connection, and has to come again.
    ensure!(first.close().is_err());
    let second = listen()?;
    comes(WARM).await?;
    ensure!(busy.is_alive() && quiet.is_alive(), "the relay closed one");
    eventually(PATIENCE, "both are connected again", || async {
        places(&servers, &names, Some(relay.identity.fingerprint()))
            .await
            .map(Some)
    })
    .await?;
    second
        .line()
        .send(format!("PUB {QUIET} 2\r\nhi\r\n").as_bytes())?;
    eventually(PATIENCE, "the subscription is there again", || async {
        Ok((quiet.book().received() == 1).then_some(()))
    })
    .await?;

    let after = heard.read(|ledger| ledger.tally(0));
    let sent = publisher.stop()?;
    eventually(PATIENCE, "the last message has come", || async {
        let [all, so_far] = [sent, 0].map(|sent| heard.read(|ledger| ledger.tally(sent)));
        Ok((all.lost == so_far.lost).then_some(()))
    })
    .await?;
    let end = heard.read(|ledger| ledger.tally(sent));
    println!("of {sent}: {end:?}");
    ensure!(end.repeated + end.reordered + end.damaged == 0, "{end:?}");
    ensure!(
        end.lost == after.lost,
        "lost after the outage: {after:?}, {end:?}"
    );
    busy.close()?;
    quiet.close()?;
    second.close()
}
