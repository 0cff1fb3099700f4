//! Distributes the connections over the origins, by measured throughput. Pure: times are parameters.
//!
//! Origins get connections in proportion to the throughput of one connection to each. An origin that is negligible compared
//! to the best one rests, and so does one that keeps failing; after the rest, one connection probes it. A refusal halves the
//! connections to an origin (multiplicative decrease); then they grow one at a time (additive increase). Hill climbing tries
//! fewer or more connections to an origin, because some servers collapse under many.

use std::time::Duration;

use crate::transfer::schedule::origin_pace::is_negligible_beside;
use crate::transfer::schedule::{Demand, OriginNumber};

use super::connections::{Connections, Observation};

/// Connection-seconds that must be measured before a rate counts.
const MIN_CONNECTION_SECS: f64 = 1.5;

/// Seconds of use before an origin may count as slow. Locating files, connecting and TCP's slow start take longer at some
/// origins, and say nothing about their throughput afterwards.
const GRACE_SECS: f64 = 5.0;

/// Seconds over which rates are smoothed.
const SMOOTHING_SECS: f64 = 1.5;

/// The first rest of a slow origin. Each further one is twice as long.
const FIRST_SLOW_REST: Duration = Duration::from_secs(30);

/// The rest after the second failure in a row. Each further one is twice as long.
const FIRST_FAILURE_REST: Duration = Duration::from_millis(500);

/// Samples during which an origin lacks half of its connections before another one gives up some.
const SURPLUS_MIN_SAMPLES: u32 = 4;

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// Time from a refusal to the first additional connection, and between further ones.
const INCREASE_INTERVAL: Duration = Duration::from_secs(2);

/// What an origin delivered since the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Bytes received.
    pub(crate) bytes: u64,
    /// Connections that had a piece of it.
    pub(crate) busy: usize,
}

/// What happens to an origin after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is used again, now or after a rest.
    Stays,
    /// It failed too often in a row and is not used again.
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    Resting { until: Duration, is_slow: bool },
    Dropped,
}

#[derive(Clone, Debug)]
struct OriginState {
    status: Status,
    demand: Demand,
    /// Bytes per second of one connection.
    rate: Option<f64>,
    /// Connection-seconds over which `rate` was measured.
    connection_secs: f64,
    /// Seconds of use since it was opened.
    used_secs: f64,
    /// Whether one connection probes it after a rest.
    is_probe: bool,
    /// The most connections, as refusals left it.
    limit: usize,
    refused_at: Option<Duration>,
    /// Whether it delivered anything since its last refusal. If not, it may merely be waiting out the requested pause.
    has_delivered: bool,
    /// Failures in a row.
    failures: u32,
    failed_at: Option<Duration>,
    /// Number of rests for being slow.
    slow_rests: u32,
}

/// Steers the connections of all origins.
#[derive(Clone, Debug)]
pub(crate) struct Steering {
    /// The most connections over all origins.
    max: usize,
    connections: Connections,
    attempts: u32,
    states: Vec<OriginState>,
    sampled_at: Duration,
    /// Samples in a row in which some origin lacked more than half of its connections.
    short_samples: u32,
}

impl Steering {
    /// Origins that share at most `connections`. One that fails `attempts` times in a row is dropped.
    pub(crate) fn new(origins: usize, connections: usize, attempts: u32) -> Self {
        let state = OriginState {
            status: Status::Open,
            demand: Demand {
                is_any: true,
                is_exclusive: false,
            },
            rate: None,
            connection_secs: 0.0,
            used_secs: 0.0,
            is_probe: false,
            limit: connections,
            refused_at: None,
            has_delivered: false,
            failures: 0,
            failed_at: None,
            slow_rests: 0,
        };
        Self {
            max: connections,
            connections: Connections::new(connections, origins),
            attempts,
            states: vec![state; origins],
            sampled_at: Duration::ZERO,
            short_samples: 0,
        }
    }

    /// Whether an origin may be used now.
    pub(crate) fn is_open(&self, origin: OriginNumber) -> bool {
        self.states
            .get(origin)
            .is_some_and(|state| state.status == Status::Open)
    }

    /// Whether an origin was dropped.
    pub(crate) fn is_dropped(&self, origin: OriginNumber) -> bool {
        self.states
            .get(origin)
            .is_none_or(|state| state.status == Status::Dropped)
    }

    /// Connections over all origins now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.total()
    }

    /// Updates the state of each origin from its sample and its demand. `is_enough`: more connections would gain nothing. The
    /// only origin of a file does not rest for being slow.
    pub(crate) fn steer(&mut self, now: Duration, samples: &[Sample], demands: &[Demand], is_enough: bool) {
        let seconds = now.saturating_sub(self.sampled_at).as_secs_f64();
        self.sampled_at = now;
        if seconds <= 0.0 {
            return;
        }
        let is_open: Vec<bool> = self.states.iter().map(|state| state.status == Status::Open).collect();
        self.connections.step(
            now,
            Observation {
                samples,
                is_open: &is_open,
                is_enough,
            },
        );
        let max = self.max;
        for (state, sample) in self.states.iter_mut().zip(samples) {
            state.measure(*sample, seconds);
            state.recover(now, max);
        }
        let best = self
            .states
            .iter()
            .filter(|state| state.status == Status::Open && state.connection_secs >= MIN_CONNECTION_SECS)
            .filter_map(|state| state.rate)
            .fold(0.0, f64::max);
        // Between two files there is no demand for a moment. The next file most likely has the same origins as the last one.
        let is_between = demands.iter().all(|demand| !demand.is_any);
        for (state, demand) in self.states.iter_mut().zip(demands) {
            if !is_between {
                state.demand = *demand;
            }
            if demand.is_exclusive && matches!(state.status, Status::Resting { is_slow: true, .. }) {
                state.status = Status::Open;
            }
            let is_slow = state.rate.is_some_and(|rate| is_negligible_beside(rate, best));
            let is_judged = state.used_secs >= GRACE_SECS && state.connection_secs >= MIN_CONNECTION_SECS;
            if state.status == Status::Open && is_judged && is_slow && !demand.is_exclusive {
                let doublings = state.slow_rests.min(10);
                state.slow_rests += 1;
                state.rest(now, FIRST_SLOW_REST.saturating_mul(1 << doublings), true);
            }
        }
        self.reopen_slow();
    }

    /// Ends the rests of slow origins where no other may be used: slow is better than nothing.
    fn reopen_slow(&mut self) {
        let is_usable = |state: &OriginState| state.status == Status::Open && state.demand.is_any;
        if self.states.iter().any(is_usable) {
            return;
        }
        for state in &mut self.states {
            if state.demand.is_any && matches!(state.status, Status::Resting { is_slow: true, .. }) {
                state.status = Status::Open;
            }
        }
    }

    /// The target number of connections of each origin.
    pub(crate) fn targets(&self) -> Vec<usize> {
        let best = self
            .states
            .iter()
            .filter_map(|state| state.rate)
            .fold(f64::MIN_POSITIVE, f64::max);
        let mut order: Vec<(OriginNumber, f64, usize)> = self
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| state.status == Status::Open && state.demand.is_any)
            .map(|(origin, state)| {
                let limit = if state.is_probe {
                    1
                } else {
                    state.limit.min(self.connections.at(origin))
                };
                (origin, state.rate.unwrap_or(best), limit)
            })
            .collect();
        // A stable sort: of equal origins, the one listed first comes first.
        order.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
        let mut targets = vec![0; self.states.len()];
        // Each connection goes to the origin with the highest rate per connection that it already has.
        for _ in 0..self.connections() {
            let next = order
                .iter()
                .filter(|(origin, _, limit)| targets[*origin] < *limit)
                .max_by(|(one, weight, _), (other, more, _)| {
                    let worth = |origin: usize, weight: f64| match targets[origin] {
                        0 => f64::INFINITY,
                        held => weight / held as f64,
                    };
                    worth(*one, *weight)
                        .total_cmp(&worth(*other, *more))
                        // `max_by` returns the last of equal elements; this makes it the first.
                        .then(std::cmp::Ordering::Greater)
                });
            match next {
                Some((origin, ..)) => targets[*origin] += 1,
                None => break,
            }
        }
        targets
    }

    /// The origin that must give up one of its connections. Connections return when their pieces end, but a slow origin may
    /// keep them for so long that others lack them.
    pub(crate) fn surplus_holder(&mut self, held: &[usize]) -> Option<OriginNumber> {
        let targets = self.targets();
        let is_any_short = targets.iter().zip(held).any(|(target, held)| held * 2 < *target);
        self.short_samples = if is_any_short { self.short_samples + 1 } else { 0 };
        if self.short_samples < SURPLUS_MIN_SAMPLES {
            return None;
        }
        let surplus = |(origin, (target, held)): (OriginNumber, (&usize, &usize))| {
            Some((held.checked_sub(*target).filter(|surplus| *surplus > 0)?, origin))
        };
        let surpluses = targets.iter().zip(held).enumerate().filter_map(surplus);
        surpluses.max().map(|(_, origin)| origin)
    }

    /// Records that an origin refused a request because it has too many.
    pub(crate) fn refused(&mut self, origin: OriginNumber, busy: usize, now: Duration) {
        self.connections.refused(origin);
        if let Some(state) = self.states.get_mut(origin) {
            // Requests in flight at the first refusal are refused as well: together they count as one refusal.
            if state
                .refused_at
                .is_none_or(|last| now.saturating_sub(last) >= INCREASE_INTERVAL / 2)
            {
                state.limit = (busy.min(state.limit) / 2).max(1);
            }
            state.refused_at = Some(now);
            state.has_delivered = false;
        }
    }

    /// Records a failure of an origin and the pause it asked for. Returns whether it is dropped.
    pub(crate) fn failed(&mut self, origin: OriginNumber, now: Duration, retry_after: Option<Duration>) -> Verdict {
        let attempts = self.attempts;
        let Some(state) = self.states.get_mut(origin) else {
            return Verdict::Dropped;
        };
        // Requests in flight at the first failure fail as well: together they count as one failure.
        let is_same = state.status != Status::Open
            || state
                .failed_at
                .is_some_and(|last| now.saturating_sub(last) < FIRST_FAILURE_REST / 2);
        if !is_same {
            state.failed_at = Some(now);
            state.failures += 1;
        }
        if state.failures >= attempts {
            state.status = Status::Dropped;
            return Verdict::Dropped;
        }
        if let Some(pause) = retry_after {
            state.rest(now, pause, false);
        } else if !is_same && state.failures > 1 {
            let doublings = (state.failures - 2).min(10);
            state.rest(now, FIRST_FAILURE_REST.saturating_mul(1 << doublings), false);
        }
        Verdict::Stays
    }

    /// Records that an origin delivered a block.
    pub(crate) fn delivered(&mut self, origin: OriginNumber) {
        if let Some(state) = self.states.get_mut(origin) {
            state.failures = 0;
            state.has_delivered = true;
        }
    }

    /// Drops an origin.
    pub(crate) fn drop_origin(&mut self, origin: OriginNumber) {
        if let Some(state) = self.states.get_mut(origin) {
            state.status = Status::Dropped;
        }
    }
}

impl OriginState {
    fn measure(&mut self, sample: Sample, seconds: f64) {
        if sample.busy == 0 {
            return;
        }
        self.used_secs += seconds;
        if sample.bytes == 0 && self.rate.is_none() && self.used_secs < GRACE_SECS {
            return;
        }
        let watched = sample.busy as f64 * seconds;
        let new = sample.bytes as f64 / watched;
        let weight = (seconds / SMOOTHING_SECS).min(1.0);
        self.rate = Some(self.rate.map_or(new, |old| old + weight * (new - old)));
        self.connection_secs += watched;
        if self.connection_secs >= MIN_CONNECTION_SECS && self.is_probe {
            self.is_probe = false;
        }
    }

    /// Ends a rest that is over, and grows the limit after a refusal (additive increase).
    fn recover(&mut self, now: Duration, max: usize) {
        if let Status::Resting { until, .. } = self.status
            && now >= until
        {
            self.status = Status::Open;
            self.is_probe = true;
        }
        if let Some(last) = self.refused_at
            && self.has_delivered
            && now.saturating_sub(last) >= INCREASE_INTERVAL
        {
            self.limit = (self.limit + 1).min(max);
            self.refused_at = (self.limit < max).then_some(now);
        }
    }

    fn rest(&mut self, now: Duration, rest: Duration, is_slow: bool) {
        self.status = Status::Resting {
            until: now + rest.min(LONGEST_REST),
            is_slow,
        };
        // The rate before a rest says nothing about the rate after it.
        self.rate = None;
        self.connection_secs = 0.0;
        self.used_secs = 0.0;
    }
}

#[cfg(test)]
mod tests;
