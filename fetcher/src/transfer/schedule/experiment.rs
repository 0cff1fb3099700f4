//! An experiment: a measured baseline, a candidate that replaces it, time to settle, and a rule that judges the candidate.
//! Pure: times are parameters.

use std::time::Duration;

/// How a candidate is judged. A gain is its rate divided by the baseline's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Time until the candidate shows an effect.
    pub(crate) settle: Duration,
    /// The least gain that keeps the candidate at once.
    pub(crate) keep_early_gain: Option<f64>,
    /// The candidate is reverted if, after this time, it gains less than this.
    pub(crate) revert_early: Option<(Duration, f64)>,
    /// Time after which `worth_gain` decides.
    pub(crate) watch: Duration,
    /// The least gain that keeps the candidate.
    pub(crate) worth_gain: f64,
    /// Whether the candidate must miss `worth_gain` twice to be reverted: the first miss may be chance.
    pub(crate) needs_second_miss: bool,
}

/// What happens to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The experiment continues.
    Undecided,
    /// The candidate gained so much that the next experiment may start at once.
    KeptEarly,
    /// The candidate is kept.
    Kept,
    /// The caller must restore the baseline.
    Reverted,
}

/// A candidate that is tried instead of a baseline.
#[derive(Clone, Debug)]
pub(crate) struct Experiment<T> {
    baseline: T,
    baseline_rate: f64,
    rule: Rule,
    settled_at: Duration,
    amount: f64,
    has_missed: bool,
}

impl<T> Experiment<T> {
    /// Starts with a baseline and its rate per second. The caller applies the candidate.
    pub(crate) fn new(baseline: T, baseline_rate: f64, rule: Rule, now: Duration) -> Self {
        Self {
            baseline,
            baseline_rate,
            rule,
            settled_at: now + rule.settle,
            amount: 0.0,
            has_missed: false,
        }
    }

    /// Adds what arrived since the last call, and judges by everything since the candidate settled.
    pub(crate) fn observe(&mut self, now: Duration, amount: f64) -> Judgement {
        if now <= self.settled_at {
            return Judgement::Undecided;
        }
        self.amount += amount;
        self.judge(self.rate(now), now.saturating_sub(self.settled_at))
    }

    /// Judges the candidate by its rate over the given time.
    pub(crate) fn judge(&mut self, rate: f64, watched: Duration) -> Judgement {
        let gain = rate / self.baseline_rate.max(f64::MIN_POSITIVE);
        let Rule {
            keep_early_gain,
            revert_early,
            watch,
            worth_gain,
            needs_second_miss,
            ..
        } = self.rule;
        if keep_early_gain.is_some_and(|early| gain >= early) {
            return Judgement::KeptEarly;
        }
        let is_clear_loss = revert_early.is_some_and(|(after, least_gain)| watched >= after && gain < least_gain);
        if watched < watch && !is_clear_loss {
            return Judgement::Undecided;
        }
        if gain >= worth_gain {
            return Judgement::Kept;
        }
        if needs_second_miss && !self.has_missed {
            self.has_missed = true;
            return Judgement::Undecided;
        }
        Judgement::Reverted
    }

    /// The candidate's rate per second since it settled.
    pub(crate) fn rate(&self, now: Duration) -> f64 {
        let watched = now.saturating_sub(self.settled_at).as_secs_f64();
        self.amount / watched.max(f64::MIN_POSITIVE)
    }

    /// The rate per second of the baseline.
    pub(crate) fn baseline_rate(&self) -> f64 {
        self.baseline_rate
    }

    /// Whether the time to settle is over.
    pub(crate) fn has_settled(&self, now: Duration) -> bool {
        now > self.settled_at
    }

    /// The baseline, to restore it when the candidate is reverted.
    pub(crate) fn into_baseline(self) -> T {
        self.baseline
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RULE: Rule = Rule {
        settle: Duration::from_secs(1),
        keep_early_gain: Some(2.0),
        revert_early: Some((Duration::from_secs(1), 0.9)),
        watch: Duration::from_secs(2),
        worth_gain: 1.1,
        needs_second_miss: false,
    };

    /// The judgements, one per second, of a candidate with the given rate per second.
    fn judgements(rule: Rule, rate: f64, seconds: u64) -> Vec<Judgement> {
        let mut experiment = Experiment::new((), 100.0, rule, Duration::ZERO);
        (1..=seconds)
            .map(|second| experiment.observe(Duration::from_secs(second), rate))
            .collect()
    }

    use Judgement::{Kept, KeptEarly, Reverted, Undecided};

    #[rstest]
    #[case::a_clear_gain_is_kept_early(200.0, &[Undecided, KeptEarly])]
    #[case::a_clear_loss_is_reverted_early(80.0, &[Undecided, Reverted])]
    #[case::a_gain_is_kept_at_the_end(120.0, &[Undecided, Undecided, Kept])]
    #[case::too_little_gain_is_reverted_at_the_end(105.0, &[Undecided, Undecided, Reverted])]
    fn a_candidate_is_judged_by_its_gain(#[case] rate: f64, #[case] expected: &[Judgement]) {
        assert_eq!(judgements(RULE, rate, expected.len() as u64), expected);
    }

    #[test]
    fn a_candidate_that_misses_once_by_chance_is_kept() {
        let rule = Rule {
            needs_second_miss: true,
            ..RULE
        };
        let mut experiment = Experiment::new((), 100.0, rule, Duration::ZERO);
        let second = Duration::from_secs(2);
        assert_eq!(experiment.judge(50.0, second), Undecided);
        assert_eq!(experiment.judge(120.0, second), Kept);
        assert_eq!(experiment.judge(50.0, second), Reverted, "this is the second miss");
    }

    #[test]
    fn the_baseline_is_restored_exactly() {
        let baseline = vec![None, Some(3)];
        assert_eq!(
            Experiment::new(baseline.clone(), 1.0, RULE, Duration::ZERO).into_baseline(),
            baseline
        );
    }
}
