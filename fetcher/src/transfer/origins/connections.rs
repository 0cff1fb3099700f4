//! The one owner of the number of connections. Pure: moments are given.
//!
//! Slow start: four times as many are tried over all origins as soon as it is known what the first ones deliver, and again
//! at once where that helped. Hill climbing: after a while fewer or more are tried at one origin, since some servers collapse
//! under many. One experiment runs at a time; it changes the numbers as a whole, and restores exactly what was before when
//! the candidate is not worth it.

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

/// More connections are worth trying at once when the rate falls below this share of the one at which they were not.
const FALLEN_SHARE: f64 = 0.75;

/// Seconds over which the present rate is smoothed.
const SMOOTHING_SECS: f64 = 2.0;

/// An experiment under way.
#[derive(Clone, Debug)]
enum Running {
    /// More connections over all origins.
    SlowStart(Experiment<Numbers>),
    /// Fewer or more at one origin.
    HillClimb(OriginNumber, Experiment<Numbers>),
}

/// What was seen since the last step, over all origins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// By origin.
    pub(crate) samples: &'a [Sample],
    /// Origins that may be asked.
    pub(crate) is_open: &'a [bool],
    /// More connections would gain nothing: the hash is busy with what arrives, or little is left.
    pub(crate) is_enough: bool,
}

impl Seen<'_> {
    fn bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.bytes).sum()
    }
}

/// The number of connections, over all origins and at each.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    numbers: Numbers,
    most: usize,
    slow_start: SlowStart,
    climbs: Vec<HillClimb>,
    running: Option<Running>,
    /// Bytes per second at which more were last found not to be worth it.
    concluded_rate: Option<f64>,
    /// Bytes per second, smoothed.
    present_rate: f64,
    stepped: Duration,
}

impl Connections {
    /// At most so many, shared by so many origins.
    pub(crate) fn new(most: usize, origins: usize) -> Self {
        Self {
            numbers: Numbers::new(most.min(FIRST_CONNECTIONS), origins),
            most,
            slow_start: SlowStart::default(),
            climbs: vec![HillClimb::default(); origins],
            running: None,
            concluded_rate: None,
            present_rate: 0.0,
            stepped: Duration::ZERO,
        }
    }

    /// Over all origins.
    pub(crate) fn total(&self) -> usize {
        self.numbers.total
    }

    /// At an origin, at most.
    pub(crate) fn at(&self, origin: OriginNumber) -> usize {
        self.numbers.at(origin)
    }

    /// Takes in what was seen up to a moment.
    pub(crate) fn step(&mut self, now: Duration, seen: Seen<'_>) {
        self.measure(now, seen);
        match self.running.take() {
            Some(Running::SlowStart(experiment)) => self.step_slow_start(now, seen, experiment),
            Some(Running::HillClimb(origin, experiment)) => self.step_hill_climb(now, seen, origin, experiment),
            None => {
                self.try_more(now, seen);
                if self.running.is_none() {
                    self.try_at_one(now, seen);
                }
            }
        }
    }

    fn measure(&mut self, now: Duration, seen: Seen<'_>) {
        let seconds = now.saturating_sub(self.stepped).as_secs_f64();
        self.stepped = now;
        // What a candidate delivers is not the present rate yet.
        if seconds > 0.0 && self.running.is_none() {
            let rate = seen.bytes() as f64 / seconds;
            self.present_rate += (seconds / SMOOTHING_SECS).min(1.0) * (rate - self.present_rate);
        }
    }

    /// More were found not to be worth it at a rate.
    fn conclude(&mut self, rate: f64) {
        self.concluded_rate = Some(rate);
        self.present_rate = rate;
    }

    fn step_slow_start(&mut self, now: Duration, seen: Seen<'_>, mut experiment: Experiment<Numbers>) {
        let bytes = seen.bytes();
        match experiment.observe(now, bytes as f64) {
            Judgement::Undecided if seen.is_enough && experiment.has_settled(now) => {
                self.revert_slow_start(now, experiment)
            }
            Judgement::Undecided => self.running = Some(Running::SlowStart(experiment)),
            Judgement::KeptEarly => {
                let rate = experiment.rate(now);
                self.begin_slow_start(now, rate);
            }
            Judgement::Kept => self.slow_start.watch(now, bytes),
            Judgement::Reverted => self.revert_slow_start(now, experiment),
        }
        self.climbs.iter_mut().for_each(|climb| climb.watch_again(now));
    }

    fn revert_slow_start(&mut self, now: Duration, experiment: Experiment<Numbers>) {
        self.conclude(experiment.baseline_rate());
        self.numbers = experiment.into_baseline();
        self.slow_start.pause(now);
    }

    fn step_hill_climb(
        &mut self,
        now: Duration,
        seen: Seen<'_>,
        origin: OriginNumber,
        mut experiment: Experiment<Numbers>,
    ) {
        let bytes = seen.samples.get(origin).map_or(0, |sample| sample.bytes);
        let judgement = experiment.observe(now, bytes as f64);
        self.slow_start.watch_again(now);
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

    /// Tries more over all origins when what there are is known to be used up.
    fn try_more(&mut self, now: Duration, seen: Seen<'_>) {
        let allowed = self.numbers.allowed(seen.is_open);
        let busy: usize = seen.samples.iter().map(|sample| sample.busy).sum();
        // Between two pieces a connection is not busy for a moment.
        let is_bound = busy * 4 >= allowed * 3 && !seen.is_enough;
        let has_fallen = |concluded: f64| self.present_rate < concluded * FALLEN_SHARE;
        if is_bound && self.concluded_rate.is_some_and(has_fallen) {
            self.concluded_rate = None;
            self.slow_start.resume(now);
        }
        if let Some(rate) = self.slow_start.observe(now, seen.bytes(), is_bound) {
            self.begin_slow_start(now, rate);
        }
    }

    fn begin_slow_start(&mut self, now: Duration, rate: f64) {
        let more = self.numbers.more(self.most);
        if more == self.numbers || is_enough_rate(rate) {
            self.slow_start.watch(now, u64::MAX);
            return;
        }
        let rule = slow_start::rule(&self.numbers, &more);
        let baseline = std::mem::replace(&mut self.numbers, more);
        self.running = Some(Running::SlowStart(Experiment::new(baseline, rate, rule, now)));
    }

    /// Tries fewer or more at one origin whose number is what bounds it.
    fn try_at_one(&mut self, now: Duration, seen: Seen<'_>) {
        for (origin, (climb, sample)) in self.climbs.iter_mut().zip(seen.samples).enumerate() {
            if !seen.is_open.get(origin).copied().unwrap_or_default() {
                continue;
            }
            let present = self.numbers.at(origin);
            let Some(rate) = climb.observe(now, sample.bytes) else {
                continue;
            };
            let tried = climb.candidate(present, self.numbers.total);
            if sample.busy < present || tried == present {
                climb.turn(now);
                continue;
            }
            let rule = hill_climb::rule(tried, present);
            let candidate = self.numbers.with(origin, tried);
            let baseline = std::mem::replace(&mut self.numbers, candidate);
            self.running = Some(Running::HillClimb(origin, Experiment::new(baseline, rate, rule, now)));
            return;
        }
    }

    /// An origin refused because it is asked too much: no more are tried from now on.
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
