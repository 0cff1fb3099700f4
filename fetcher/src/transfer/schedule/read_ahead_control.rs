//! Controls the read-ahead of a file: how many pieces are in flight, and how far ahead of the hash. Pure: times are
//! parameters.
//!
//! A source about as fast as the hash needs few pieces. More of them gain nothing: they arrive concurrently, out of the
//! order of the hash, until blocks leave memory and have to be read back, and each connection costs processor time that the
//! hash could use. A far source needs many pieces far ahead, because each waits for its first byte.
//!
//! The controller finds out by experiment. Fewer pieces are kept if throughput does not fall; more pieces, or pieces further
//! ahead than memory holds, are kept only if it grows. After a failed experiment the same direction pauses, longer each
//! time. A change is judged once its pieces have arrived. From a source much slower than the hash, as much is requested as
//! it can deliver: then there is nothing to gain from less.

use std::time::Duration;

use super::experiment::{Experiment, Judgement, Rule};
use super::piece_length::Distance;

/// The least steps of the hash in a short round.
const ROUND_STEPS: u32 = 64;

/// The least time of a round. Less would measure chance.
const SHORT_ROUND: Duration = Duration::from_millis(100);

/// The time after which a round ends even with few steps. A source that became slow needs more pieces soon.
const LONG_ROUND: Duration = Duration::from_millis(200);

/// The longest time that a round is extended to the duration of a piece. Long pieces arrive in bursts, so only a round over
/// all of them measures the throughput; but a piece of a slow origin must not delay it.
const LONGEST_PIECE_ROUND: Duration = Duration::from_millis(500);

/// Pieces that are always allowed in flight.
const MIN_PIECES: u64 = 4;

/// A source is fast if the hash is busy for at least this share of the time. Only then does the read-ahead matter.
const FAST_BUSY_SHARE: f64 = 0.3;

/// The hash waits for the source if it is busy for less than this share of the time.
const WAITING_BUSY_SHARE: f64 = 0.7;

/// Fewer pieces are kept if they deliver at least this share of the previous throughput.
const FEWER_WORTH_GAIN: f64 = 0.85;

/// More pieces are kept if they deliver at least this multiple of the previous throughput.
const MORE_WORTH_GAIN: f64 = 1.05;

/// The pause of a direction after its first failed experiment. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Weight of a new piece in the moving average of `piece_secs`.
const PIECE_TIME_WEIGHT: f64 = 0.3;

/// What the pieces of a file are limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    /// Number of pieces in flight.
    pieces: u64,
    /// Whether they may run ahead of the hash only as far as memory holds.
    is_memory_bound: bool,
}

/// The read-ahead of one file.
#[derive(Debug)]
pub(super) struct ReadAheadControl {
    allowance: Allowance,
    /// Time that a piece takes, as a moving average.
    piece_secs: f64,
    /// When the pieces of the last change have arrived.
    settled_at: Duration,
    round: Round,
    /// Whether the source was fast in the last round.
    is_fast: bool,
    /// The running experiment.
    experiment: Option<(Direction, Experiment<Allowance>)>,
    /// Blocks hashed per second before the first of several reductions. Small losses must not add up.
    rate_before_fewer: Option<f64>,
    fewer: Pause,
    more: Pause,
}

/// One round of measurement.
#[derive(Debug, Default)]
struct Round {
    started: Duration,
    steps: u32,
    busy: Duration,
    /// The most pieces in flight at any step.
    most_in_flight: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Fewer,
    More,
}

/// Until when a direction pauses, and how long the next pause is.
#[derive(Debug)]
struct Pause {
    until: Duration,
    next: Duration,
}

impl Default for ReadAheadControl {
    fn default() -> Self {
        Self {
            allowance: Allowance {
                pieces: u64::MAX,
                is_memory_bound: true,
            },
            piece_secs: 0.0,
            settled_at: Duration::ZERO,
            round: Round::default(),
            is_fast: false,
            experiment: None,
            rate_before_fewer: None,
            fewer: Pause::default(),
            more: Pause::default(),
        }
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            until: Duration::ZERO,
            next: FIRST_PAUSE,
        }
    }
}

impl Pause {
    fn begin(&mut self, now: Duration) {
        self.until = now + self.next;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
    }
}

impl ReadAheadControl {
    /// Number of pieces that may be in flight.
    pub(super) fn allowed(&self) -> u64 {
        self.allowance.pieces
    }

    /// Whether pieces may run ahead of the hash only as far as memory holds. While the hash waits (not `is_behind`), that
    /// holds only for a near and fast source.
    pub(super) fn is_memory_bound(&self, distance: Distance, is_behind: bool) -> bool {
        self.allowance.is_memory_bound
            && match distance {
                Distance::Near => is_behind || self.is_fast,
                Distance::Unknown => is_behind,
                Distance::Far => false,
            }
    }

    /// Whether the source is fast compared to the hash.
    pub(super) fn is_fast(&self) -> bool {
        self.is_fast
    }

    /// Adds the time that a complete piece took.
    pub(super) fn observe_piece(&mut self, seconds: f64) {
        let weight = if self.piece_secs > 0.0 { PIECE_TIME_WEIGHT } else { 1.0 };
        self.piece_secs += weight * (seconds - self.piece_secs);
    }

    /// Records how long the hash of a block took, and the number of pieces in flight.
    pub(super) fn step(&mut self, took: Duration, in_flight: u64, distance: Distance, now: Duration) {
        if now < self.settled_at {
            return;
        }
        self.round.step(took, in_flight, now);
        let since = now.saturating_sub(self.round.started);
        let least = if self.round.steps < ROUND_STEPS {
            LONG_ROUND
        } else {
            SHORT_ROUND
        };
        if since < least.max(Duration::from_secs_f64(self.piece_secs).min(LONGEST_PIECE_ROUND)) {
            return;
        }
        let round = std::mem::take(&mut self.round);
        let allowance = self.judge(&round, since.as_secs_f64().max(f64::MIN_POSITIVE), distance, now);
        if allowance != self.allowance {
            self.allowance = allowance;
            self.settled_at = now + Duration::from_secs_f64(self.piece_secs);
        }
    }

    /// Concludes a round: the allowance from now on.
    fn judge(&mut self, round: &Round, seconds: f64, distance: Distance, now: Duration) -> Allowance {
        let rate = f64::from(round.steps) / seconds;
        if let Some((direction, mut experiment)) = self.experiment.take() {
            match experiment.judge(rate, Duration::from_secs_f64(seconds)) {
                Judgement::Undecided => {
                    self.experiment = Some((direction, experiment));
                    return self.allowance;
                }
                Judgement::Kept | Judgement::KeptEarly => self.conclude(direction, true, now),
                Judgement::Reverted => {
                    self.conclude(direction, false, now);
                    return experiment.into_baseline();
                }
            }
        }
        let Allowance {
            pieces,
            is_memory_bound,
        } = self.allowance;
        let busy = round.busy.as_secs_f64() / seconds;
        let used = round.most_in_flight.min(pieces);
        let is_used_up = used == pieces;
        self.is_fast = busy >= FAST_BUSY_SHARE;
        if !self.is_fast {
            self.rate_before_fewer = None;
            return Allowance {
                pieces: pieces.saturating_mul(if is_used_up { 2 } else { 1 }),
                is_memory_bound: false,
            };
        }
        if distance == Distance::Near && !is_memory_bound {
            return Allowance {
                pieces,
                is_memory_bound: true,
            };
        }
        if busy < WAITING_BUSY_SHARE && self.more.until <= now {
            if is_used_up {
                let pieces = pieces.saturating_add((pieces / 4).max(1));
                return self.begin_experiment(
                    Direction::More,
                    Allowance {
                        pieces,
                        is_memory_bound,
                    },
                    rate,
                    now,
                );
            }
            if is_memory_bound && distance == Distance::Unknown {
                return self.begin_experiment(
                    Direction::More,
                    Allowance {
                        pieces,
                        is_memory_bound: false,
                    },
                    rate,
                    now,
                );
            }
        }
        if distance != Distance::Far
            && (busy >= WAITING_BUSY_SHARE || distance == Distance::Near)
            && self.fewer.until <= now
        {
            let before_fewer = *self.rate_before_fewer.get_or_insert(rate);
            if !is_memory_bound {
                return self.begin_experiment(
                    Direction::Fewer,
                    Allowance {
                        pieces,
                        is_memory_bound: true,
                    },
                    before_fewer,
                    now,
                );
            }
            if used > MIN_PIECES {
                let pieces = (used / 2).max(MIN_PIECES);
                return self.begin_experiment(
                    Direction::Fewer,
                    Allowance {
                        pieces,
                        is_memory_bound,
                    },
                    before_fewer,
                    now,
                );
            }
        }
        self.allowance
    }

    /// Records whether an experiment was kept.
    fn conclude(&mut self, direction: Direction, is_kept: bool, now: Duration) {
        let pause = match direction {
            Direction::Fewer => &mut self.fewer,
            Direction::More => &mut self.more,
        };
        if is_kept {
            *pause = Pause::default();
        } else {
            pause.begin(now);
        }
        // A series of reductions is over: the next one starts with its own baseline.
        if is_kept == (direction == Direction::More) {
            self.rate_before_fewer = None;
        }
    }

    fn begin_experiment(
        &mut self,
        direction: Direction,
        allowance: Allowance,
        baseline_rate: f64,
        now: Duration,
    ) -> Allowance {
        let rule = Rule {
            // A round starts only when the pieces of a change have arrived.
            settle: Duration::ZERO,
            keep_early_gain: None,
            revert_early: None,
            watch: Duration::ZERO,
            worth_gain: match direction {
                Direction::Fewer => FEWER_WORTH_GAIN,
                Direction::More => MORE_WORTH_GAIN,
            },
            needs_second_miss: direction == Direction::Fewer,
        };
        self.experiment = Some((direction, Experiment::new(self.allowance, baseline_rate, rule, now)));
        allowance
    }
}

impl Round {
    fn step(&mut self, took: Duration, in_flight: u64, now: Duration) {
        if self.steps == 0 {
            self.started = now.saturating_sub(took);
        }
        self.steps += 1;
        self.busy += took;
        self.most_in_flight = self.most_in_flight.max(in_flight);
    }
}

#[cfg(test)]
mod tests;
