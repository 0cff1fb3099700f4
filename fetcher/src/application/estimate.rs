//! Estimates how long a fetch takes from the throughput of a short probe. Pure.

use std::time::Duration;

/// Shortest transfer whose throughput counts without the time to the first byte.
const MIN_TRANSFER_TIME: Duration = Duration::from_millis(100);

/// What a probe received from one origin. Times are since its first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) bytes: u64,
    /// Time to the first byte.
    pub(crate) first_byte: Duration,
    /// Time to the last byte.
    pub(crate) last_byte: Duration,
}

impl Sample {
    /// Throughput from the first byte on; `None` without data.
    ///
    /// A transfer that is too short to measure counts with its time to the first byte.
    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        let transfer = self.last_byte.saturating_sub(self.first_byte);
        let window = if transfer < MIN_TRANSFER_TIME {
            self.last_byte
        } else {
            transfer
        };
        let micros = window.as_micros().max(1);
        let speed = u64::try_from(u128::from(self.bytes) * 1_000_000 / micros).unwrap_or(u64::MAX);
        (self.bytes > 0).then(|| speed.max(1))
    }
}

/// Time for a number of bytes at the sum of these throughputs; `None` if that is zero.
pub(crate) fn duration(bytes: u64, speeds: impl IntoIterator<Item = u64>) -> Option<Duration> {
    let sum = speeds.into_iter().fold(0, u64::saturating_add);
    // Rounded up, so that it is 0 only if there is nothing to fetch.
    (sum > 0).then(|| Duration::from_secs(bytes.div_ceil(sum)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_data(0, 0, 3000, None)]
    #[case::the_wait_for_the_first_byte_is_not_counted(2000, 1000, 3000, Some(1000))]
    #[case::unless_all_bytes_arrive_at_once(1000, 500, 500, Some(2000))]
    #[case::next_to_nothing(1, 0, 3000, Some(1))]
    #[case::in_no_time(1000, 0, 0, Some(1_000_000_000))]
    fn a_speed(#[case] bytes: u64, #[case] first: u64, #[case] last: u64, #[case] expected: Option<u64>) {
        let sample = Sample {
            bytes,
            first_byte: Duration::from_millis(first),
            last_byte: Duration::from_millis(last),
        };
        assert_eq!(sample.bytes_per_second(), expected);
    }

    #[rstest]
    #[case::one_origin(100, &[10], Some(10))]
    #[case::origins_add_up(100, &[10, 15], Some(4))]
    #[case::rounded_up(101, &[10], Some(11))]
    #[case::nothing_left(0, &[10], Some(0))]
    #[case::no_origin(100, &[], None)]
    #[case::no_throughput(100, &[0, 0], None)]
    fn a_time(#[case] bytes: u64, #[case] speeds: &[u64], #[case] seconds: Option<u64>) {
        assert_eq!(
            duration(bytes, speeds.iter().copied()),
            seconds.map(Duration::from_secs)
        );
    }
}
