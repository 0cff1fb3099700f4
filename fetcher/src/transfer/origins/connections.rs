//! Controls the number of connections. Pure: times are parameters.
//!
//! Slow start tries four times as many connections over all origins once the throughput of the first ones is known, and
//! repeats that at once if it helped. Hill climbing later tries fewer or more connections to one origin, because some servers
//! collapse under many. One experiment runs at a time; if its candidate is not worth it, it restores the previous numbers.

mod hill_climb;
mod numbers;
mod slow_start;

use std::time::Duration;

use self::hill_climb::HillClimb;
use self::numbers::Numbers;
pub(crate) use self::slow_start::{FIRST_CONNECTIONS, is_nearly_complete};
use self::slow_start::{SlowStart, is_enough_rate};
use super::steering::Sample;
use crate::transfer::schedule::OriginNumber;
use crate::transfer::schedule::experiment::{Experiment, Judgement};

/// Slow start resumes at once if the rate falls below this share of the concluded one.
const FALLEN_SHARE: f64 = 0.75;

/// Seconds over which the current rate is smoothed.
const SMOOTHING_SECS: f64 = 2.0;

/// The running experiment.
#[derive(Clone, Debug)]
enum Running {
    /// More connections over all origins.
    SlowStart(Experiment<Numbers>),
    /// Fewer or more connections to one origin.
    HillClimb(OriginNumber, Experiment<Numbers>),
}

/// What was observed since the last step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'a> {
    /// A sample of each origin.
    pub(crate) samples: &'a [Sample],
    /// Whether each origin may be used.
    pub(crate) is_open: &'a [bool],
    /// Whether more connections would gain nothing: the hash is busy, or little is left.
    pub(crate) is_enough: bool,
}

impl Observation<'_> {
    fn bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.bytes).sum()
    }
}

/// The number of connections, over all origins and at each.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    numbers: Numbers,
    max: usize,
    slow_start: SlowStart,
    climbs: Vec<HillClimb>,
    running: Option<Running>,
    /// Bytes per second when more connections were last not worth it.
    concluded_rate: Option<f64>,
    /// Bytes per second now, smoothed.
    current_rate: f64,
    stepped: Duration,
}

impl Connections {
    /// At most `max` connections, over a number of origins.
    pub(crate) fn new(max: usize, origins: usize) -> Self {
        Self {
            numbers: Numbers::new(max.min(FIRST_CONNECTIONS), origins),
            max,
            slow_start: SlowStart::default(),
            climbs: vec![HillClimb::default(); origins],
            running: None,
            concluded_rate: None,
            current_rate: 0.0,
            stepped: Duration::ZERO,
        }
    }

    /// Connections over all origins.
    pub(crate) fn total(&self) -> usize {
        self.numbers.total
    }

    /// The most connections to an origin.
    pub(crate) fn at(&self, origin: OriginNumber) -> usize {
        self.numbers.at(origin)
    }

    /// Continues or starts an experiment after an observation.
    pub(crate) fn step(&mut self, now: Duration, observation: Observation<'_>) {
        self.measure(now, observation);
        match self.running.take() {
            Some(Running::SlowStart(experiment)) => self.step_slow_start(now, observation, experiment),
            Some(Running::HillClimb(origin, experiment)) => self.step_hill_climb(now, observation, origin, experiment),
            None => {
                self.try_more(now, observation);
                if self.running.is_none() {
                    self.try_at_one(now, observation);
                }
            }
        }
    }

    fn measure(&mut self, now: Duration, observation: Observation<'_>) {
        let seconds = now.saturating_sub(self.stepped).as_secs_f64();
        self.stepped = now;
        // The rate of a candidate is not the current rate until it is kept.
        if seconds > 0.0 && self.running.is_none() {
            let rate = observation.bytes() as f64 / seconds;
            self.current_rate += (seconds / SMOOTHING_SECS).min(1.0) * (rate - self.current_rate);
        }
    }

    /// Records the rate at which more connections were not worth it.
    fn conclude(&mut self, rate: f64) {
        self.concluded_rate = Some(rate);
        self.current_rate = rate;
    }

    fn step_slow_start(&mut self, now: Duration, observation: Observation<'_>, mut experiment: Experiment<Numbers>) {
        let bytes = observation.bytes();
        match experiment.observe(now, bytes as f64) {
            Judgement::Undecided if observation.is_enough && experiment.has_settled(now) => {
                self.revert_slow_start(now, experiment);
            }
            Judgement::Undecided => self.running = Some(Running::SlowStart(experiment)),
            Judgement::KeptEarly => {
                let rate = experiment.rate(now);
                self.begin_slow_start(now, rate);
            }
            Judgement::Kept => self.slow_start.watch(now, bytes),
            Judgement::Reverted => self.revert_slow_start(now, experiment),
        }
        self.climbs.iter_mut().for_each(|climb| climb.restart(now));
    }

    fn revert_slow_start(&mut self, now: Duration, experiment: Experiment<Numbers>) {
        self.conclude(experiment.baseline_rate());
        self.numbers = experiment.into_baseline();
        self.slow_start.pause(now);
    }

    fn step_hill_climb(
        &mut self,
        now: Duration,
        observation: Observation<'_>,
        origin: OriginNumber,
        mut experiment: Experiment<Numbers>,
    ) {
        let bytes = observation.samples.get(origin).map_or(0, |sample| sample.bytes);
        let judgement = experiment.observe(now, bytes as f64);
        self.slow_start.restart(now);
        let Some(climb) = self.climbs.get_mut(origin) else {
            return;
        };
        match judgement {
            Judgement::Undecided => self.running = Some(Running::HillClimb(origin, experiment)),
            Judgement::KeptEarly | Judgement::Kept => {
                let is_fewer = !climb.is_up();
                climb.kept(now);
                if is_fewer {
                    self.conclude(experiment.rate(now));
                }
            }
            Judgement::Reverted => {
                climb.reverted(now);
                self.numbers = experiment.into_baseline();
            }
        }
    }

    /// Tries more connections over all origins if nearly all of the current ones are busy.
    fn try_more(&mut self, now: Duration, observation: Observation<'_>) {
        let allowed = self.numbers.allowed(observation.is_open);
        let busy: usize = observation.samples.iter().map(|sample| sample.busy).sum();
        // Not all of them: between two pieces a connection is idle for a moment.
        let is_bound = busy * 4 >= allowed * 3 && !observation.is_enough;
        let has_fallen = |concluded: f64| self.current_rate < concluded * FALLEN_SHARE;
        if is_bound && self.concluded_rate.is_some_and(has_fallen) {
            self.concluded_rate = None;
            self.slow_start.resume(now);
        }
        if let Some(rate) = self.slow_start.observe(now, observation.bytes(), is_bound) {
            self.begin_slow_start(now, rate);
        }
    }

    fn begin_slow_start(&mut self, now: Duration, rate: f64) {
        let more = self.numbers.scaled_up(self.max);
        if more == self.numbers || is_enough_rate(rate) {
            self.slow_start.watch(now, u64::MAX);
            return;
        }
        let rule = slow_start::rule(&self.numbers, &more);
        let baseline = std::mem::replace(&mut self.numbers, more);
        self.running = Some(Running::SlowStart(Experiment::new(baseline, rate, rule, now)));
    }

    /// Tries fewer or more connections to one origin that uses all it may have.
    fn try_at_one(&mut self, now: Duration, observation: Observation<'_>) {
        for (origin, (climb, sample)) in self.climbs.iter_mut().zip(observation.samples).enumerate() {
            if !observation.is_open.get(origin).copied().unwrap_or_default() {
                continue;
            }
            let current = self.numbers.at(origin);
            let Some(rate) = climb.observe(now, sample.bytes) else {
                continue;
            };
            let tried = climb.candidate(current, self.numbers.total);
            if sample.busy < current || tried == current {
                climb.turn_around(now);
                continue;
            }
            let rule = hill_climb::rule(tried, current);
            let candidate = self.numbers.with(origin, tried);
            let baseline = std::mem::replace(&mut self.numbers, candidate);
            self.running = Some(Running::HillClimb(origin, Experiment::new(baseline, rate, rule, now)));
            return;
        }
    }

    /// Records a refusal by an origin: reverts the running experiment and tries no more connections from now on.
    pub(crate) fn refused(&mut self, origin: OriginNumber) {
        match self.running.take() {
            Some(Running::SlowStart(experiment) | Running::HillClimb(_, experiment)) => {
                self.numbers = experiment.into_baseline();
            }
            None => {}
        }
        self.slow_start.end();
        if let Some(climb) = self.climbs.get_mut(origin) {
            *climb = HillClimb::default();
        }
    }
}

#[cfg(test)]
mod tests;
