//! What the benchmarks share: samples and their order statistics, rounds in which contenders are compared, plots, and the
//! rows of the table that `scripts/bench` prints.

pub mod plot;
pub mod rounds;
pub mod usage;

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context as _, Result};

/// Names a file that rows are appended to.
pub const ROWS: &str = "NATS_MTLS_BENCH_ROWS";

/// Whether `--quick` was given: a smoke run, whose numbers mean little.
#[must_use]
pub fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// One line of the table: what was measured, and whether that is good enough.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// What was measured.
    pub what: &'a str,
    /// What it should be.
    pub target: &'a str,
    /// What it is, with its unit.
    pub measured: String,
    /// Whether the target is met; nothing without a target.
    pub met: Option<bool>,
}

impl Row<'_> {
    /// Prints the row, and appends it to the file that [`ROWS`] names.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub fn report(&self) -> Result<()> {
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "-",
        };
        let Self {
            what,
            target,
            measured,
            ..
        } = self;
        println!("{what}: {measured} (target: {target}, {verdict})");
        let Some(path) = std::env::var_os(ROWS) else {
            return Ok(());
        };
        let mut rows = OpenOptions::new().append(true).create(true).open(&path)?;
        writeln!(rows, "{what}\t{target}\t{measured}\t{verdict}")
            .with_context(|| format!("{path:?}"))
    }
}

/// Measurements in ascending order.
#[derive(Debug, Clone)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// # Panics
    /// Without a measurement.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        assert!(!values.is_empty(), "a sample of nothing");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The smallest value that `share` of all values do not exceed (nearest rank).
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank in a sample of thousands"
    )]
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// How many values there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no sample of nothing")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Half of the values do not exceed it.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The mean without the `share` of values at either end that interruptions spoil.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank in a sample of thousands"
    )]
    pub fn trimmed_mean(&self, share: f64) -> f64 {
        let cut = (share * self.0.len() as f64) as usize;
        let kept = &self.0[cut..self.0.len() - cut];
        kept.iter().sum::<f64>() / kept.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let sample = Sample::new((1..=100).rev().map(f64::from));
        assert_eq!(sample.median(), 50.0);
        assert_eq!(sample.quantile(0.99), 99.0);
        assert_eq!(sample.max(), 100.0);
        assert_eq!(sample.trimmed_mean(0.1), 50.5);
        assert_eq!(Sample::new([7.0]).median(), 7.0);
    }
}
