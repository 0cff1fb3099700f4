//! What one origin brings, counted where it is asked and read where it is shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use modelcache_crds::report::{OriginFault, OriginReport};

/// Counters of one origin.
#[derive(Debug)]
pub struct OriginProgress {
    name: String,
    bytes: AtomicU64,
    failures: AtomicU64,
    /// Changes seldom: not with every byte.
    state: Mutex<(OriginCourse, Option<String>)>,
}

/// How an origin fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginCourse {
    /// It is asked.
    #[default]
    Asked,
    /// It is left alone for a while.
    Resting,
    /// It is not asked any more.
    Dropped(OriginFault),
}

/// An origin's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginSnapshot {
    /// What it is called.
    pub name: String,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Requests that failed.
    pub failures: u64,
    /// How it fares.
    pub course: OriginCourse,
    /// The last failure, or why it was dropped.
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

    fn state(&self) -> MutexGuard<'_, (OriginCourse, Option<String>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came from it.
    pub fn received(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that came from it by now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A request failed.
    pub fn failed(&self, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if !matches!(state.0, OriginCourse::Dropped(_)) {
            state.1 = Some(error.to_owned());
        }
    }

    /// Whether it is asked now. One that was dropped stays so.
    pub fn set_resting(&self, is_resting: bool) {
        let mut state = self.state();
        if !matches!(state.0, OriginCourse::Dropped(_)) {
            state.0 = if is_resting {
                OriginCourse::Resting
            } else {
                OriginCourse::Asked
            };
        }
    }

    /// It is not asked any more; the first reason counts. Whether this is the first.
    pub fn drop_for(&self, fault: OriginFault, reason: &str) -> bool {
        let mut state = self.state();
        if matches!(state.0, OriginCourse::Dropped(_)) {
            return false;
        }
        *state = (OriginCourse::Dropped(fault), Some(reason.to_owned()));
        true
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> OriginSnapshot {
        let (course, last_error) = self.state().clone();
        OriginSnapshot {
            name: self.name.clone(),
            bytes: self.bytes(),
            failures: self.failures.load(Ordering::Relaxed),
            course,
            last_error,
        }
    }
}

impl OriginSnapshot {
    /// Why it is not asked any more, where that is so.
    #[must_use]
    pub fn dropped(&self) -> Option<&str> {
        match self.course {
            OriginCourse::Dropped(_) => Some(self.last_error.as_deref().unwrap_or_default()),
            OriginCourse::Asked | OriginCourse::Resting => None,
        }
    }

    /// The same for the operator.
    #[must_use]
    pub fn to_report(&self) -> OriginReport {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        OriginReport {
            name: self.name.clone(),
            bytes: signed(self.bytes),
            failures: signed(self.failures),
            last_error: self.last_error.clone(),
            dropped: match self.course {
                OriginCourse::Dropped(fault) => Some(fault),
                OriginCourse::Asked | OriginCourse::Resting => None,
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
        origin.failed("brought no byte");
        origin.set_resting(true);
        assert_eq!(origin.snapshot().course, OriginCourse::Resting);
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
