//! Messages a second through the relay, through byte tunnels, and through TLS alone, at three sizes and in both
//! directions; and what a million of them costs. One connection, one interleaved run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use nats_mtls_tests::arena::{Arena, Contender, DIRECT, RELAY};
use nats_mtls_tests::bench::plot::{Panel, Picture};
use nats_mtls_tests::bench::rounds::Rounds;
use nats_mtls_tests::bench::usage::Usage;
use nats_mtls_tests::bench::{Row, quick};
use nats_mtls_tests::load::flood::{Flood, Flow};
use nats_mtls_tests::load::sink::Sink;
use nats_mtls_tests::process::be_quiet;

const SIZES: [usize; 3] = [128, 1024, 16 * 1024];
const WAYS: [Way; 2] = [Way::Up, Way::Down];
/// The generator against something that costs nothing: the most that it could measure.
const CEILING: &str = "generator alone";
/// Of direct TLS.
const LEAST_OF_DIRECT: f64 = 0.9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "publishing",
            Self::Down => "subscribing",
        }
    }
}

fn case(way: Way, size: usize) -> String {
    let size = match size {
        0..1024 => format!("{size} B"),
        _ => format!("{} KiB", size / 1024),
    };
    format!("{} {size}", way.name())
}

/// What a case used, over all rounds.
#[derive(Default, Clone, Copy)]
struct Cost {
    messages: f64,
    contender: f64,
    everything: f64,
}

pub(crate) async fn run() -> Result<()> {
    let (rounds, milliseconds) = if quick() { (2, 100) } else { (9, 500) };
    let arena = Arena::open().await?;
    arena.announce();
    let time = Duration::from_millis(milliseconds);
    let outcome = tokio::task::block_in_place(|| measure(&arena, rounds, time))?;
    be_quiet(); // Nothing failed: nobody wants the logs.
    outcome.report(&arena)
}

#[derive(Default)]
struct Outcome {
    rates: Rounds,
    costs: BTreeMap<(String, &'static str), Cost>,
}

fn measure(arena: &Arena, rounds: usize, time: Duration) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for _ in 0..rounds {
        for size in SIZES {
            for way in WAYS {
                let flood = Flood { size, time };
                let mut order: Vec<_> = arena.contenders.iter().collect();
                fastrand::shuffle(&mut order);
                for contender in order {
                    outcome.add(arena, contender, way, flood)?;
                }
                let sink = Sink::open(size)?.endpoint();
                let flow = match way {
                    Way::Up => flood.up(&sink, || Ok(()))?,
                    Way::Down => flood.down_from_source(&sink, || Ok(()))?,
                };
                outcome.rates.add(&case(way, size), CEILING, flow.rate());
            }
        }
    }
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, arena: &Arena, who: &Contender, way: Way, flood: Flood) -> Result<()> {
        let mut used = Vec::new();
        let mark = || {
            let contender = who.pid.map_or(Ok(0.0), |pid| {
                Usage::of(pid).map(|usage| usage.cpu_milliseconds)
            })?;
            let server = Usage::of(arena.server.pid())?.cpu_milliseconds;
            used.push((contender, server + Usage::own()?.cpu_milliseconds));
            Ok(())
        };
        let flow: Flow = match way {
            Way::Up => flood.up(&who.endpoint, mark)?,
            Way::Down => flood.down(&who.endpoint, &arena.plain(), mark)?,
        };
        let case = case(way, flood.size);
        self.rates.add(&case, who.name, flow.rate());
        if let [before, after] = used[..] {
            let cost = self.costs.entry((case, who.name)).or_default();
            let contender = after.0 - before.0;
            cost.contender += contender;
            cost.everything += contender + after.1 - before.1;
            #[expect(clippy::cast_precision_loss, reason = "some millions of messages")]
            {
                cost.messages += flow.messages as f64;
            }
        }
        Ok(())
    }

    fn report(&self, arena: &Arena) -> Result<()> {
        let names = arena.names();
        let tunnels = &names[2..];
        self.print(&names);
        for case in cases() {
            self.judge(&case, tunnels)?;
        }
        for case in cases() {
            self.tell_cost(&case, &names)?;
        }
        self.draw(&names)
    }

    /// Everything side by side, with the middle half of the rounds' ratios.
    fn print(&self, names: &[&str]) {
        let columns: Vec<_> = names.iter().copied().chain([CEILING]).collect();
        println!("messages a second, in thousands; medians of all rounds");
        println!("| | {} | relay of direct |", columns.join(" | "));
        println!("|---|{}---|", "---|".repeat(columns.len()));
        for case in cases() {
            let rates = columns
                .iter()
                .map(|name| format!("{:.0}", self.rates.median(&case, name) / 1e3));
            let of_direct = self.rates.ratios(&case, RELAY, DIRECT);
            println!(
                "| {case} | {} | {:.2} ({:.2} to {:.2}) |",
                rates.collect::<Vec<_>>().join(" | "),
                of_direct.median(),
                of_direct.quantile(0.25),
                of_direct.quantile(0.75),
            );
        }
    }

    fn judge(&self, case: &str, tunnels: &[&str]) -> Result<()> {
        let of_direct = self.rates.ratios(case, RELAY, DIRECT).median();
        let best = self.rates.highest(case, tunnels);
        let of_best = best.map(|best| (best, self.rates.ratios(case, RELAY, best).median()));
        let compared = of_best.map_or_else(
            || "no tunnel to compare with".to_owned(),
            |(best, ratio)| format!("{ratio:.2} of {best}"),
        );
        let enough = of_best.is_none_or(|(_, ratio)| ratio >= 1.0);
        Row {
            what: &format!("relay, {case}"),
            target: "at least the best tunnel, at least 0.9 of direct TLS",
            measured: format!(
                "{:.0}k a second: {compared}, {of_direct:.2} of direct",
                self.rates.median(case, RELAY) / 1e3
            ),
            met: Some(enough && of_direct >= LEAST_OF_DIRECT),
        }
        .report()
    }

    /// CPU milliseconds for a million messages: the process in between, and everything on the machine that takes part.
    fn cost(&self, case: &str, name: &'static str) -> (f64, f64) {
        let key = (case.to_owned(), name);
        let cost = self.costs.get(&key).copied().unwrap_or_default();
        let of_a_million = |milliseconds: f64| milliseconds * 1e6 / cost.messages;
        (of_a_million(cost.contender), of_a_million(cost.everything))
    }

    fn tell_cost(&self, case: &str, names: &[&'static str]) -> Result<()> {
        let costs = names.iter().copied().map(|name| {
            let (alone, everything) = self.cost(case, name);
            match name {
                DIRECT => format!("direct {:.2} s", everything / 1e3),
                _ => format!("{name} {:.2} of {:.2} s", alone / 1e3, everything / 1e3),
            }
        });
        Row {
            what: &format!(
                "CPU for a million messages, {case}: in between, of all that takes part"
            ),
            target: "-",
            measured: costs.collect::<Vec<_>>().join("; "),
            met: None,
        }
        .report()
    }

    fn draw(&self, names: &[&'static str]) -> Result<()> {
        let names = relay_first(names);
        let panels = |what: &str, value: &dyn Fn(&str, usize, &'static str) -> f64| {
            WAYS.map(|way| Panel {
                title: format!("{}, {what}", way.name()),
                groups: SIZES
                    .map(|size| {
                        let case = case(way, size);
                        let bars = names.iter().map(|name| Some(value(&case, size, name)));
                        let label = case.split_once(' ').map_or("", |(_, size)| size);
                        (label.to_owned(), bars.collect())
                    })
                    .into(),
            })
            .into()
        };
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let mebibytes = |case: &str, size: usize, name: &'static str| {
            self.rates.median(case, name) * size as f64 / f64::from(1 << 20)
        };
        Picture {
            name: "throughput",
            title: "One client, as much as goes through",
            series: &names,
            panels: panels("MiB of payload a second", &mebibytes),
        }
        .save()?;
        Picture {
            name: "cpu",
            title: "CPU for a million messages: client, server, and what is in between",
            series: &names,
            panels: panels("seconds", &|case, _, name| self.cost(case, name).1 / 1e3),
        }
        .save()
    }
}

fn cases() -> impl Iterator<Item = String> {
    WAYS.into_iter()
        .flat_map(|way| SIZES.map(|size| case(way, size)))
}

/// In the order of the plots' colours.
fn relay_first(names: &[&'static str]) -> Vec<&'static str> {
    let others = names.iter().copied().filter(|name| *name != RELAY);
    [RELAY].into_iter().chain(others).collect()
}
