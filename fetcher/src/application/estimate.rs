//! How long a fetch will take, from what a short probe brought. Pure.

use std::time::Duration;

/// A probe shorter than this says more about the way there than about the line.
const SHORTEST: Duration = Duration::from_millis(100);

/// What a probe brought from one origin; times are since its first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) bytes: u64,
    /// When the first byte came.
    pub(crate) first: Duration,
    /// When the last one came.
    pub(crate) last: Duration,
}

impl Brought {
    /// Bytes per second once bytes flow; `None` when none did. Where too little came to tell, the way there counts, too.
    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        let flowing = self.last.saturating_sub(self.first);
        let window = if flowing < SHORTEST { self.last } else { flowing };
        let micros = window.as_micros().max(1);
        let speed = u64::try_from(u128::from(self.bytes) * 1_000_000 / micros).unwrap_or(u64::MAX);
        (self.bytes > 0).then(|| speed.max(1))
    }
}

/// How long so many bytes take when all origins bring what they brought; `None` when none brings anything.
pub(crate) fn duration(bytes: u64, speeds: impl IntoIterator<Item = u64>) -> Option<Duration> {
    let sum = speeds.into_iter().fold(0, u64::saturating_add);
    // Up, so that it is never 0 while there is something to fetch.
    (sum > 0).then(|| Duration::from_secs(bytes.div_ceil(sum)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing_came(0, 0, 3000, None)]
    #[case::the_wait_for_the_first_byte_is_not_counted(2000, 1000, 3000, Some(1000))]
    #[case::but_it_is_where_all_came_at_once(1000, 500, 500, Some(2000))]
    #[case::next_to_nothing(1, 0, 3000, Some(1))]
    #[case::in_no_time(1000, 0, 0, Some(1_000_000_000))]
    fn a_speed(#[case] bytes: u64, #[case] first: u64, #[case] last: u64, #[case] expected: Option<u64>) {
        let (first, last) = (Duration::from_millis(first), Duration::from_millis(last));
        assert_eq!(Brought { bytes, first, last }.bytes_per_second(), expected);
    }

    #[rstest]
    #[case::one_origin(100, &[10], Some(10))]
    #[case::origins_add_up(100, &[10, 15], Some(4))]
    #[case::rounded_up(101, &[10], Some(11))]
    #[case::nothing_left(0, &[10], Some(0))]
    #[case::nobody(100, &[], None)]
    #[case::nobody_brings_anything(100, &[0, 0], None)]
    fn a_time(#[case] bytes: u64, #[case] speeds: &[u64], #[case] seconds: Option<u64>) {
        assert_eq!(
            duration(bytes, speeds.iter().copied()),
            seconds.map(Duration::from_secs)
        );
    }
}
