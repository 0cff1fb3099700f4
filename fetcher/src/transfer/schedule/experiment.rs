//! An experiment: a measured baseline, a candidate in its place, time for it to settle, and a rule that judges it. Pure:
//! moments are given.

use std::time::Duration;

/// How a candidate is judged. A gain is its rate as a multiple of the baseline's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Time before the candidate shows an effect.
    pub(crate) settle: Duration,
    /// It is kept at once from this gain on.
    pub(crate) keep_early_gain: Option<f64>,
    /// It is reverted after this time below this gain.
    pub(crate) revert_early: Option<(Duration, f64)>,
    /// After this time it is judged by `worth_gain`.
    pub(crate) watch: Duration,
    /// It is kept from this gain on.
    pub(crate) worth_gain: f64,
    /// A miss counts only when a second look misses as well; the first may be chance.
    pub(crate) has_second_look: bool,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is watched further.
    Undecided,
    /// It gained so much that the next one may follow at once.
    KeptEarly,
    /// It is worth keeping.
    Kept,
    /// The baseline is to be restored.
    Reverted,
}

/// A candidate in force in place of a baseline.
#[derive(Clone, Debug)]
pub(crate) struct Experiment<T> {
    baseline: T,
    baseline_rate: f64,
    rule: Rule,
    settled: Duration,
    amount: f64,
    is_doubted: bool,
}

impl<T> Experiment<T> {
    /// Begins with a baseline and its rate per second; the caller puts the candidate in force.
    pub(crate) fn new(baseline: T, baseline_rate: f64, rule: Rule, now: Duration) -> Self {
        Self {
            baseline,
            baseline_rate,
            rule,
            settled: now + rule.settle,
            amount: 0.0,
            is_doubted: false,
        }
    }

    /// Counts what arrived since the last call, and judges the candidate by all that arrived since it settled.
    pub(crate) fn observe(&mut self, now: Duration, amount: f64) -> Judgement {
        if now <= self.settled {
            return Judgement::Undecided;
        }
        self.amount += amount;
        self.judge(self.rate(now), now.saturating_sub(self.settled))
    }

    /// Judges the candidate by its rate over some time.
    pub(crate) fn judge(&mut self, rate: f64, watched: Duration) -> Judgement {
        let gain = rate / self.baseline_rate.max(f64::MIN_POSITIVE);
        let Rule {
            keep_early_gain,
            revert_early,
            watch,
            worth_gain,
            has_second_look,
            ..
        } = self.rule;
        if keep_early_gain.is_some_and(|early| gain >= early) {
            return Judgement::KeptEarly;
        }
        let is_clear_loss = revert_early.is_some_and(|(glance, loss)| watched >= glance && gain < loss);
        if watched < watch && !is_clear_loss {
            return Judgement::Undecided;
        }
        if gain >= worth_gain {
            return Judgement::Kept;
        }
        if has_second_look && !self.is_doubted {
            self.is_doubted = true;
            return Judgement::Undecided;
        }
        Judgement::Reverted
    }

    /// The candidate's rate per second since it settled.
    pub(crate) fn rate(&self, now: Duration) -> f64 {
        let watched = now.saturating_sub(self.settled).as_secs_f64();
        self.amount / watched.max(f64::MIN_POSITIVE)
    }

    /// The rate per second of the baseline.
    pub(crate) fn baseline_rate(&self) -> f64 {
        self.baseline_rate
    }

    /// Whether the candidate has had its time to settle.
    pub(crate) fn has_settled(&self, now: Duration) -> bool {
        now > self.settled
    }

    /// What is to be restored when the candidate is reverted.
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
        has_second_look: false,
    };

    /// The judgements of a candidate that delivers so much per second, second by second.
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
    fn a_second_look_saves_a_candidate_that_missed_by_chance() {
        let rule = Rule {
            has_second_look: true,
            ..RULE
        };
        let mut experiment = Experiment::new((), 100.0, rule, Duration::ZERO);
        let second = Duration::from_secs(2);
        assert_eq!(experiment.judge(50.0, second), Undecided);
        assert_eq!(experiment.judge(120.0, second), Kept);
        assert_eq!(experiment.judge(50.0, second), Reverted, "the second look is used up");
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
