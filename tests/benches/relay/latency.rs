//! Round trips of requests at a fixed rate through the relay, through byte tunnels, and through TLS alone. One requester,
//! one responder at the server itself, one interleaved run.

use anyhow::Result;
use nats_mtls_tests::arena::{Arena, DIRECT, RELAY};
use nats_mtls_tests::bench::plot::{Panel, Picture};
use nats_mtls_tests::bench::rounds::Rounds;
use nats_mtls_tests::bench::{Row, quick};
use nats_mtls_tests::load::requests::{Requests, Responder};
use nats_mtls_tests::process::be_quiet;

const RATE: f64 = 2_000.0;
const SIZE: usize = 128;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

pub(crate) async fn run() -> Result<()> {
    let (rounds, count) = if quick() { (1, 400) } else { (7, 4_000) };
    let arena = Arena::open().await?;
    arena.announce();
    let requests = Requests {
        rate: RATE,
        count,
        size: SIZE,
    };
    let trips = tokio::task::block_in_place(|| measure(&arena, rounds, &requests))?;
    be_quiet(); // Nothing failed: nobody wants the logs.
    report(&arena, &trips)
}

/// Microseconds at each quantile, for each round.
fn measure(arena: &Arena, rounds: usize, requests: &Requests) -> Result<Rounds> {
    let mut trips = Rounds::default();
    let _responder = Responder::open(&arena.plain(), "echo")?;
    for _ in 0..rounds {
        let mut order: Vec<_> = arena.contenders.iter().collect();
        fastrand::shuffle(&mut order);
        for contender in order {
            let sample = requests.run(&contender.endpoint, "echo")?;
            for (name, share) in QUANTILES {
                trips.add(name, contender.name, sample.quantile(share));
            }
        }
    }
    Ok(trips)
}

fn report(arena: &Arena, trips: &Rounds) -> Result<()> {
    let names = arena.names();
    for name in &names {
        let [p50, p99, last] = QUANTILES.map(|(quantile, _)| trips.median(quantile, name));
        let what = format!("request and reply at {RATE:.0} a second, {SIZE} B: {name}");
        let (target, met) = if *name == RELAY {
            judge(trips, &names[2..])
        } else {
            ("-".to_owned(), None)
        };
        Row {
            what: &what,
            target: &target,
            measured: format!("p50 {p50:.0}, p99 {p99:.0}, p99.9 {last:.0} µs"),
            met,
        }
        .report()?;
    }
    let relay_first: Vec<_> = [RELAY]
        .into_iter()
        .chain(names.into_iter().filter(|name| *name != RELAY))
        .collect();
    let panels = QUANTILES.map(|(quantile, _)| {
        let bars = relay_first
            .iter()
            .map(|name| Some(trips.median(quantile, name)));
        Panel {
            title: format!("{quantile}, microseconds"),
            groups: vec![(String::new(), bars.collect())],
        }
    });
    Picture {
        name: "latency",
        title: &format!(
            "Round trip of a request from when it was due, {RATE:.0} a second, {SIZE} B"
        ),
        series: &relay_first,
        panels: panels.into(),
    }
    .save()
}

/// What the relay adds at the 99th percentile, beside what the best tunnel adds.
fn judge(trips: &Rounds, tunnels: &[&str]) -> (String, Option<bool>) {
    let added = |name: &str| trips.median("p99", name) - trips.median("p99", DIRECT);
    match trips.lowest("p99", tunnels) {
        None => ("no tunnel to compare with".to_owned(), None),
        Some(best) => (
            format!(
                "adds at p99 no more than {best}, {:.0} µs (adds {:.0})",
                added(best),
                added(RELAY)
            ),
            Some(added(RELAY) <= added(best)),
        ),
    }
}
