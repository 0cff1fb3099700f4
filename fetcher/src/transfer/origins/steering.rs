//! How many connections each origin gets, by what it was measured to bring. Pure: moments are given.
//!
//! Origins share the connections in proportion to what one connection brings from each. One that brings next to
//! nothing beside the best rests, and so does one that keeps failing; both are tried again later, with one
//! connection. One that refuses is asked with half as many connections, then slowly with more. And now and then one
//! is asked with fewer or more connections, to see whether that brings more: some servers collapse under many.

use std::time::Duration;

use crate::transfer::schedule::origin_pace::is_negligible_beside;
use crate::transfer::schedule::{Demand, OriginNumber};

use super::connections::{Connections, Seen};

/// Connection-seconds behind a rate before it is believed.
const EVIDENCE: f64 = 1.5;

/// For so many seconds an origin is asked before it may be called slow: finding out where a file is, connecting and
/// TCP's slow start take longer from some, and say nothing about what they bring afterwards.
const HEAD_START: f64 = 5.0;

/// Seconds over which rates are smoothed.
const SMOOTHING: f64 = 1.5;

/// The first rest of a slow origin; each further one is twice as long.
const SLOW_REST: Duration = Duration::from_secs(30);

/// The first rest of one that fails for the second time; it doubles, too.
const FAILED_REST: Duration = Duration::from_millis(500);

/// So many looks in a row an origin has less than half of its connections before another one is to let go of some.
const SHORT_LOOKS: u32 = 4;

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// How long after a refusal connections are added again, and how long after the last one the next.
const CALM: Duration = Duration::from_secs(2);

/// What an origin brought since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Bytes received.
    pub(crate) bytes: u64,
    /// Connections that were asking it.
    pub(crate) busy: usize,
}

/// What becomes of an origin after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is asked again, sooner or later.
    Stays,
    /// It failed so often in a row that it is not asked again.
    GivenUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Resting { until: Duration, is_slow: bool },
    Out,
}

#[derive(Clone, Debug)]
struct Course {
    state: State,
    demand: Demand,
    /// Bytes per second of one connection, and the connection-seconds behind it.
    rate: Option<f64>,
    evidence: f64,
    /// Seconds that it was asked since it was opened.
    asked: f64,
    /// It was at rest, and one connection is to see how it does now.
    is_probe: bool,
    /// Connections at most, since it refused.
    limit: usize,
    refused: Option<Duration>,
    /// Something came since it last refused: it is not merely left alone for as long as it asked.
    has_brought: bool,
    failures: u32,
    failed: Option<Duration>,
    /// How often it has rested for being slow.
    rests: u32,
}

/// The courses of all origins.
#[derive(Clone, Debug)]
pub(crate) struct Steering {
    /// Connections at most.
    most: usize,
    connections: Connections,
    attempts: u32,
    courses: Vec<Course>,
    looked: Duration,
    /// Looks in a row at which an origin had less than half of its connections.
    short_looks: u32,
}

impl Steering {
    /// Some origins, to share so many connections at most; one that fails so often in a row is given up.
    pub(crate) fn new(origins: usize, connections: usize, attempts: u32) -> Self {
        let course = Course {
            state: State::Open,
            demand: Demand {
                is_any: true,
                is_exclusive: false,
            },
            rate: None,
            evidence: 0.0,
            asked: 0.0,
            is_probe: false,
            limit: connections,
            refused: None,
            has_brought: false,
            failures: 0,
            failed: None,
            rests: 0,
        };
        Self {
            most: connections,
            connections: Connections::new(connections, origins),
            attempts,
            courses: vec![course; origins],
            looked: Duration::ZERO,
            short_looks: 0,
        }
    }

    /// Whether an origin may be asked now.
    pub(crate) fn is_open(&self, origin: OriginNumber) -> bool {
        self.courses
            .get(origin)
            .is_some_and(|course| course.state == State::Open)
    }

    /// Whether an origin will never be asked again.
    pub(crate) fn is_out(&self, origin: OriginNumber) -> bool {
        self.courses.get(origin).is_none_or(|course| course.state == State::Out)
    }

    /// Connections that all origins share now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.total()
    }

    /// Takes in what each origin brought since the last look, and what there is to ask it for; and whether more
    /// would come to nothing. An origin that alone offers something does not rest for being slow.
    pub(crate) fn look(&mut self, now: Duration, samples: &[Sample], demands: &[Demand], is_enough: bool) {
        let seconds = now.saturating_sub(self.looked).as_secs_f64();
        self.looked = now;
        if seconds <= 0.0 {
            return;
        }
        let is_open: Vec<bool> = self.courses.iter().map(|course| course.state == State::Open).collect();
        self.connections.step(
            now,
            Seen {
                samples,
                is_open: &is_open,
                is_enough,
            },
        );
        let most = self.most;
        for (course, sample) in self.courses.iter_mut().zip(samples) {
            course.measure(*sample, seconds);
            course.relax(now, most);
        }
        let best = self
            .courses
            .iter()
            .filter(|course| course.state == State::Open && course.evidence >= EVIDENCE)
            .filter_map(|course| course.rate)
            .fold(0.0, f64::max);
        // Between two files there is nothing for a moment; the next one is most likely offered as the last one was.
        let is_between = demands.iter().all(|demand| !demand.is_any);
        for (course, demand) in self.courses.iter_mut().zip(demands) {
            if !is_between {
                course.demand = *demand;
            }
            if demand.is_exclusive && matches!(course.state, State::Resting { is_slow: true, .. }) {
                course.state = State::Open;
            }
            let is_slow = course.rate.is_some_and(|rate| is_negligible_beside(rate, best));
            let is_judged = course.asked >= HEAD_START && course.evidence >= EVIDENCE;
            if course.state == State::Open && is_judged && is_slow && !demand.is_exclusive {
                let doublings = course.rests.min(10);
                course.rests += 1;
                course.rest(now, SLOW_REST.saturating_mul(1 << doublings), true);
            }
        }
        self.rouse();
    }

    /// Slow is better than nothing: where nobody else may be asked, those that rest for being slow are.
    fn rouse(&mut self) {
        let is_asked = |course: &Course| course.state == State::Open && course.demand.is_any;
        if self.courses.iter().any(is_asked) {
            return;
        }
        for course in &mut self.courses {
            if course.demand.is_any && matches!(course.state, State::Resting { is_slow: true, .. }) {
                course.state = State::Open;
            }
        }
    }

    /// How many connections each origin is to have.
    pub(crate) fn targets(&self) -> Vec<usize> {
        let best = self
            .courses
            .iter()
            .filter_map(|course| course.rate)
            .fold(f64::MIN_POSITIVE, f64::max);
        let mut order: Vec<(OriginNumber, f64, usize)> = self
            .courses
            .iter()
            .enumerate()
            .filter(|(_, course)| course.state == State::Open && course.demand.is_any)
            .map(|(origin, course)| {
                let limit = if course.is_probe {
                    1
                } else {
                    course.limit.min(self.connections.at(origin))
                };
                (origin, course.rate.unwrap_or(best), limit)
            })
            .collect();
        // Stable, so that of equals the one named first comes first.
        order.sort_by(|(_, one, _), (_, other, _)| other.total_cmp(one));
        let mut targets = vec![0; self.courses.len()];
        // Each in turn is given to the origin that would still bring the most for its share.
        for _ in 0..self.connections() {
            let needy = order
                .iter()
                .filter(|(origin, _, limit)| targets[*origin] < *limit)
                .max_by(|(one, weight, _), (other, more, _)| {
                    let worth = |origin: usize, weight: f64| match targets[origin] {
                        0 => f64::INFINITY,
                        held => weight / held as f64,
                    };
                    worth(*one, *weight)
                        .total_cmp(&worth(*other, *more))
                        // `max_by` takes the last of equals; the first is wanted.
                        .then(std::cmp::Ordering::Greater)
                });
            match needy {
                Some((origin, ..)) => targets[*origin] += 1,
                None => break,
            }
        }
        targets
    }

    /// The origin that is to let go of one of the connections it holds. They come back when they have brought their
    /// pieces, but a slow one may keep all of them for long, and others go without.
    pub(crate) fn surplus_holder(&mut self, held: &[usize]) -> Option<OriginNumber> {
        let targets = self.targets();
        let is_any_short = targets.iter().zip(held).any(|(target, held)| held * 2 < *target);
        self.short_looks = if is_any_short { self.short_looks + 1 } else { 0 };
        if self.short_looks < SHORT_LOOKS {
            return None;
        }
        let surplus = |(origin, (target, held)): (OriginNumber, (&usize, &usize))| {
            Some((held.checked_sub(*target).filter(|surplus| *surplus > 0)?, origin))
        };
        let surpluses = targets.iter().zip(held).enumerate().filter_map(surplus);
        surpluses.max().map(|(_, origin)| origin)
    }

    /// An origin refused because it is asked too much.
    pub(crate) fn refused(&mut self, origin: OriginNumber, busy: usize, now: Duration) {
        self.connections.refused(origin);
        if let Some(course) = self.courses.get_mut(origin) {
            // What was under way when the first was refused is refused with it: that is one refusal.
            if course.refused.is_none_or(|last| now.saturating_sub(last) >= CALM / 2) {
                course.limit = (busy.min(course.limit) / 2).max(1);
            }
            course.refused = Some(now);
            course.has_brought = false;
        }
    }

    /// An origin failed, without bytes gained since the last failure; it may have said how long to leave it alone.
    pub(crate) fn failed(&mut self, origin: OriginNumber, now: Duration, retry_after: Option<Duration>) -> Verdict {
        let attempts = self.attempts;
        let Some(course) = self.courses.get_mut(origin) else {
            return Verdict::GivenUp;
        };
        // What was under way when the first one failed fails with it: that is one failure.
        let is_same = course.state != State::Open
            || course
                .failed
                .is_some_and(|last| now.saturating_sub(last) < FAILED_REST / 2);
        if !is_same {
            course.failed = Some(now);
            course.failures += 1;
        }
        if course.failures >= attempts {
            course.state = State::Out;
            return Verdict::GivenUp;
        }
        if let Some(pause) = retry_after {
            course.rest(now, pause, false);
        } else if !is_same && course.failures > 1 {
            let doublings = (course.failures - 2).min(10);
            course.rest(now, FAILED_REST.saturating_mul(1 << doublings), false);
        }
        Verdict::Stays
    }

    /// An origin brought a block.
    pub(crate) fn brought(&mut self, origin: OriginNumber) {
        if let Some(course) = self.courses.get_mut(origin) {
            course.failures = 0;
            course.has_brought = true;
        }
    }

    /// An origin is not to be asked again.
    pub(crate) fn give_up(&mut self, origin: OriginNumber) {
        if let Some(course) = self.courses.get_mut(origin) {
            course.state = State::Out;
        }
    }
}

impl Course {
    fn measure(&mut self, sample: Sample, seconds: f64) {
        if sample.busy == 0 {
            return;
        }
        self.asked += seconds;
        if sample.bytes == 0 && self.rate.is_none() && self.asked < HEAD_START {
            return;
        }
        let watched = sample.busy as f64 * seconds;
        let new = sample.bytes as f64 / watched;
        let weight = (seconds / SMOOTHING).min(1.0);
        self.rate = Some(self.rate.map_or(new, |old| old + weight * (new - old)));
        self.evidence += watched;
        if self.evidence >= EVIDENCE && self.is_probe {
            self.is_probe = false;
        }
    }

    /// Ends a rest that is over, and adds a connection when all is calm.
    fn relax(&mut self, now: Duration, cap: usize) {
        if let State::Resting { until, .. } = self.state
            && now >= until
        {
            self.state = State::Open;
            self.is_probe = true;
        }
        if let Some(last) = self.refused
            && self.has_brought
            && now.saturating_sub(last) >= CALM
        {
            self.limit = (self.limit + 1).min(cap);
            self.refused = (self.limit < cap).then_some(now);
        }
    }

    fn rest(&mut self, now: Duration, rest: Duration, is_slow: bool) {
        self.state = State::Resting {
            until: now + rest.min(LONGEST_REST),
            is_slow,
        };
        // What it brought before says nothing about what it brings afterwards.
        self.rate = None;
        self.evidence = 0.0;
        self.asked = 0.0;
    }
}

#[cfg(test)]
mod tests;
