//! Progress of a fetch, rounded for status: etcd must not hold values that change every second.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use modelcache_crds::model_cache::{Progress, Resolved};
use modelcache_crds::quantity;
use modelcache_crds::report::ProgressReport;

/// Interval of progress requests, and of status writes for progress alone.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// The fetcher's progress report, for status.
pub(super) fn reported(report: &ProgressReport, resolved: &Resolved, now: Timestamp) -> Progress {
    let total = resolved.bytes;
    let fetched = report.bytes_fetched.clamp(0, total.max(0));
    let percent = percent(fetched, total);
    let rate = report.bytes_per_second.max(0);
    Progress {
        bytes_fetched: fetched,
        bytes_verified: report.bytes_verified.clamp(0, total.max(0)),
        bytes_total: total,
        percent,
        summary: format!("{percent}%"),
        bytes_per_second: rate,
        speed: (rate > 0).then(|| format!("{}/s", quantity::human_bytes(rate))),
        eta_seconds: (rate > 0).then(|| (total - fetched + rate - 1) / rate),
        updated_time: Some(Time(now)),
    }
}

/// The last known progress, while no fetcher runs.
pub(super) fn resting(last: Option<&Progress>, resolved: &Resolved) -> Option<Progress> {
    let last = last.filter(|last| last.bytes_total == resolved.bytes)?;
    Some(Progress {
        bytes_per_second: 0,
        speed: None,
        eta_seconds: None,
        ..last.clone()
    })
}

/// The progress of a published model.
pub(super) fn complete(resolved: &Resolved) -> Progress {
    Progress {
        bytes_fetched: resolved.bytes,
        bytes_verified: resolved.bytes,
        bytes_total: resolved.bytes,
        percent: 100,
        summary: "100%".to_owned(),
        bytes_per_second: 0,
        speed: None,
        eta_seconds: None,
        updated_time: None,
    }
}

/// Whole percent, rounded down: 100 only with the last byte.
fn percent(part: i64, whole: i64) -> i32 {
    if whole <= 0 {
        return 0;
    }
    i32::try_from(i128::from(part) * 100 / i128::from(whole)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percent_is_a_hundred_only_at_the_last_byte(whole in 1..i64::MAX, part in 0..i64::MAX) {
            let part = part.min(whole);
            let shown = percent(part, whole);
            prop_assert!((0..=100).contains(&shown));
            prop_assert_eq!(shown == 100, part == whole);
        }
    }
}
