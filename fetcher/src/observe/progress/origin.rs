//! Statistics of one origin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use modelcache_crds::report::{OriginFault, OriginReport};

/// Counters of one origin.
#[derive(Debug)]
pub struct OriginProgress {
    name: String,
    bytes: AtomicU64,
    failures: AtomicU64,
    /// State and last error. A mutex suffices, since they change rarely.
    state: Mutex<(OriginState, Option<String>)>,
}

/// Whether an origin gets requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginState {
    /// It gets requests.
    #[default]
    Active,
    /// It gets no requests for a while.
    Paused,
    /// It gets no requests for the rest of the run.
    Dropped(OriginFault),
}

/// An origin's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginSnapshot {
    /// Name of the origin.
    pub name: String,
    /// Bytes received from it.
    pub bytes: u64,
    /// Number of failed requests.
    pub failures: u64,
    /// Whether it gets requests.
    pub state: OriginState,
    /// The reason for dropping it, else the last error.
    pub last_error: Option<String>,
}

impl OriginProgress {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            bytes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, (OriginState, Option<String>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts received bytes.
    pub fn received(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a failed request.
    pub fn failed(&self, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if !matches!(state.0, OriginState::Dropped(_)) {
            state.1 = Some(error.to_owned());
        }
    }

    /// Sets whether the origin is paused. A dropped origin stays dropped.
    pub fn set_resting(&self, is_resting: bool) {
        let mut state = self.state();
        if !matches!(state.0, OriginState::Dropped(_)) {
            state.0 = if is_resting {
                OriginState::Paused
            } else {
                OriginState::Active
            };
        }
    }

    /// Drops the origin and returns whether it was not dropped before. The first reason is kept.
    pub fn drop_for(&self, fault: OriginFault, reason: &str) -> bool {
        let mut state = self.state();
        if matches!(state.0, OriginState::Dropped(_)) {
            return false;
        }
        *state = (OriginState::Dropped(fault), Some(reason.to_owned()));
        true
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> OriginSnapshot {
        let (state, last_error) = self.state().clone();
        OriginSnapshot {
            name: self.name.clone(),
            bytes: self.bytes(),
            failures: self.failures.load(Ordering::Relaxed),
            state,
            last_error,
        }
    }
}

impl OriginSnapshot {
    /// Why the origin was dropped, if it was.
    #[must_use]
    pub fn dropped(&self) -> Option<&str> {
        match self.state {
            OriginState::Dropped(_) => Some(self.last_error.as_deref().unwrap_or_default()),
            OriginState::Active | OriginState::Paused => None,
        }
    }

    /// The statistics as the report has them.
    #[must_use]
    pub fn to_report(&self) -> OriginReport {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        OriginReport {
            name: self.name.clone(),
            bytes: signed(self.bytes),
            failures: signed(self.failures),
            last_error: self.last_error.clone(),
            dropped: match self.state {
                OriginState::Dropped(fault) => Some(fault),
                OriginState::Active | OriginState::Paused => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_an_origin_was_dropped_for_is_not_replaced_by_what_fails_later() {
        let origin = OriginProgress::new("mirror");
        origin.failed("sent no data");
        origin.set_resting(true);
        assert_eq!(origin.snapshot().state, OriginState::Paused);
        assert!(origin.drop_for(OriginFault::SentWrongBytes, "sent wrong bytes of a"));
        assert!(!origin.drop_for(OriginFault::KeptFailing, "refused"));
        origin.failed("refused");
        origin.set_resting(false);
        let snapshot = origin.snapshot();
        assert_eq!(snapshot.dropped(), Some("sent wrong bytes of a"));
        assert_eq!(
            snapshot.to_report(),
            OriginReport {
                name: "mirror".to_owned(),
                bytes: 0,
                failures: 2,
                last_error: Some("sent wrong bytes of a".to_owned()),
                dropped: Some(OriginFault::SentWrongBytes),
            }
        );
    }
}
