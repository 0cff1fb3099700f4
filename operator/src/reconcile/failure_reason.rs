//! The one mapping from a failure class to a condition's reason.

use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_crds::report::FailureClass;

use crate::reconcile::facts::Step;

/// The reason that a failed step writes on its condition; the reason decides whether the failure is permanent.
///
/// A class that a plan Job cannot run into (a full disk) is a defect of the fetcher, and is retried.
#[must_use]
pub fn failure_reason(step: Step, class: FailureClass) -> Reason {
    let reason = fetch_failure_reason(class);
    match step {
        Step::Fetch => reason,
        Step::Plan if reason.conditions().contains(&ConditionType::SourceResolved) => reason,
        Step::Plan => Reason::FetcherFailed,
    }
}

const fn fetch_failure_reason(class: FailureClass) -> Reason {
    match class {
        FailureClass::Internal => Reason::FetcherFailed,
        // The operator builds the command line from the spec.
        FailureClass::Usage => Reason::InvalidSpec,
        FailureClass::RepositoryNotFound => Reason::RepositoryNotFound,
        FailureClass::RevisionNotFound => Reason::RevisionNotFound,
        FailureClass::FileNotFound => Reason::FileNotFound,
        FailureClass::AuthenticationFailed => Reason::AuthenticationFailed,
        FailureClass::AccessDenied => Reason::AccessDenied,
        FailureClass::NoFilesMatch => Reason::NoFilesMatch,
        FailureClass::InvalidListing => Reason::InvalidListing,
        FailureClass::SourceChanged => Reason::SourceChanged,
        FailureClass::SourceUnreachable => Reason::SourceUnreachable,
        FailureClass::RateLimited => Reason::RateLimited,
        FailureClass::SourceError => Reason::SourceError,
        FailureClass::DiskFull => Reason::DiskFull,
        FailureClass::StorageReadOnly => Reason::StorageReadOnly,
        FailureClass::StorageError => Reason::StorageError,
        FailureClass::StorageBusy => Reason::StorageBusy,
        FailureClass::DigestMismatch => Reason::DigestMismatch,
        FailureClass::InvalidFormat => Reason::InvalidFormat,
        FailureClass::Interrupted => Reason::Interrupted,
        FailureClass::Killed => Reason::Killed,
        FailureClass::OutOfMemory => Reason::OutOfMemory,
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    /// Each class with its reason on a plan and on a fetch.
    const TABLE: [(FailureClass, Reason, Reason); 22] = [
        (FailureClass::Internal, Reason::FetcherFailed, Reason::FetcherFailed),
        (FailureClass::Usage, Reason::InvalidSpec, Reason::InvalidSpec),
        (
            FailureClass::RepositoryNotFound,
            Reason::RepositoryNotFound,
            Reason::RepositoryNotFound,
        ),
        (
            FailureClass::RevisionNotFound,
            Reason::RevisionNotFound,
            Reason::RevisionNotFound,
        ),
        (FailureClass::FileNotFound, Reason::FileNotFound, Reason::FileNotFound),
        (
            FailureClass::AuthenticationFailed,
            Reason::AuthenticationFailed,
            Reason::AuthenticationFailed,
        ),
        (FailureClass::AccessDenied, Reason::AccessDenied, Reason::AccessDenied),
        (FailureClass::NoFilesMatch, Reason::NoFilesMatch, Reason::NoFilesMatch),
        (
            FailureClass::InvalidListing,
            Reason::InvalidListing,
            Reason::InvalidListing,
        ),
        (
            FailureClass::SourceChanged,
            Reason::FetcherFailed,
            Reason::SourceChanged,
        ),
        (
            FailureClass::SourceUnreachable,
            Reason::SourceUnreachable,
            Reason::SourceUnreachable,
        ),
        (FailureClass::RateLimited, Reason::RateLimited, Reason::RateLimited),
        (FailureClass::SourceError, Reason::SourceError, Reason::SourceError),
        (FailureClass::DiskFull, Reason::FetcherFailed, Reason::DiskFull),
        (
            FailureClass::StorageReadOnly,
            Reason::FetcherFailed,
            Reason::StorageReadOnly,
        ),
        (FailureClass::StorageError, Reason::FetcherFailed, Reason::StorageError),
        (FailureClass::StorageBusy, Reason::FetcherFailed, Reason::StorageBusy),
        (
            FailureClass::DigestMismatch,
            Reason::FetcherFailed,
            Reason::DigestMismatch,
        ),
        (
            FailureClass::InvalidFormat,
            Reason::InvalidFormat,
            Reason::InvalidFormat,
        ),
        (FailureClass::Interrupted, Reason::Interrupted, Reason::Interrupted),
        (FailureClass::OutOfMemory, Reason::OutOfMemory, Reason::OutOfMemory),
        (FailureClass::Killed, Reason::Killed, Reason::Killed),
    ];

    #[test]
    fn every_class_has_the_reason_of_the_table() {
        assert_eq!(TABLE.map(|(class, _, _)| class), FailureClass::ALL);
        for (class, plan, fetch) in TABLE {
            assert_eq!(failure_reason(Step::Plan, class), plan, "{class} of a plan");
            assert_eq!(failure_reason(Step::Fetch, class), fetch, "{class} of a fetch");
        }
    }

    #[test]
    fn a_class_and_its_reason_agree_on_whether_it_is_permanent() {
        for class in FailureClass::ALL {
            assert_eq!(
                failure_reason(Step::Fetch, class).is_permanent(),
                class.is_permanent(),
                "{class}"
            );
        }
    }

    #[test]
    fn the_reason_may_stand_on_the_condition_of_its_step() {
        for class in FailureClass::ALL {
            let reason = failure_reason(Step::Plan, class);
            assert!(reason.conditions().contains(&ConditionType::SourceResolved), "{class}");
            let on = failure_reason(Step::Fetch, class).conditions();
            assert!(
                on.contains(&ConditionType::Fetched) || on.contains(&ConditionType::Verified),
                "{class}"
            );
        }
    }
}
