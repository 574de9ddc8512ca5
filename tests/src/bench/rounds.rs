//! One interleaved run: every contender in every round, so that whatever the machine does meanwhile it does to all.
//! Contenders are compared round by round, and the median of those ratios is what counts.

use std::collections::BTreeMap;

use super::Sample;

/// What was measured, by case and contender, a value for each round.
#[derive(Debug, Default)]
pub struct Rounds(BTreeMap<(String, String), Vec<f64>>);

impl Rounds {
    /// Adds the value of the next round.
    pub fn add(&mut self, case: &str, contender: &str, value: f64) {
        let key = (case.to_owned(), contender.to_owned());
        self.0.entry(key).or_default().push(value);
    }

    /// Whether the contender took part.
    #[must_use]
    pub fn has(&self, case: &str, contender: &str) -> bool {
        self.values(case, contender).next().is_some()
    }

    /// Over all rounds.
    ///
    /// # Panics
    /// When it did not take part.
    #[must_use]
    pub fn median(&self, case: &str, contender: &str) -> f64 {
        Sample::new(self.values(case, contender)).median()
    }

    /// One contender as a multiple of another, in each round.
    ///
    /// # Panics
    /// When either did not take part.
    #[must_use]
    pub fn ratios(&self, case: &str, one: &str, other: &str) -> Sample {
        let pairs = self.values(case, one).zip(self.values(case, other));
        Sample::new(pairs.map(|(one, other)| one / other))
    }

    /// The contender among these that has the highest median; none if none of them took part.
    #[must_use]
    pub fn highest<'a>(&self, case: &str, among: &[&'a str]) -> Option<&'a str> {
        self.present(case, among).max_by(|one, other| {
            let median = |contender| self.median(case, contender);
            median(one).total_cmp(&median(other))
        })
    }

    /// The one with the lowest.
    #[must_use]
    pub fn lowest<'a>(&self, case: &str, among: &[&'a str]) -> Option<&'a str> {
        self.present(case, among).min_by(|one, other| {
            let median = |contender| self.median(case, contender);
            median(one).total_cmp(&median(other))
        })
    }

    fn present<'a>(&self, case: &str, among: &[&'a str]) -> impl Iterator<Item = &'a str> {
        among
            .iter()
            .copied()
            .filter(|contender| self.has(case, contender))
    }

    fn values(&self, case: &str, contender: &str) -> impl Iterator<Item = f64> + '_ {
        let key = (case.to_owned(), contender.to_owned());
        self.0.get(&key).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_compared_round_by_round() {
        let mut rounds = Rounds::default();
        // The machine was twice as slow in the second round: the medians alone would mislead.
        for (ours, theirs) in [(90.0, 100.0), (45.0, 50.0), (92.0, 100.0)] {
            rounds.add("up", "ours", ours);
            rounds.add("up", "theirs", theirs);
        }
        let ratios = rounds.ratios("up", "ours", "theirs");
        assert_eq!((ratios.median(), ratios.max()), (0.9, 0.92));
        assert_eq!(rounds.median("up", "theirs"), 100.0);
        let both = ["ours", "theirs", "absent"];
        assert_eq!(rounds.highest("up", &both), Some("theirs"));
        assert_eq!(rounds.lowest("up", &both), Some("ours"));
        assert_eq!(rounds.highest("down", &both), None);
    }
}
