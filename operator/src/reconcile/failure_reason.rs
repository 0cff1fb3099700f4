//! From a failure of the fetcher to a condition's reason.

use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_crds::report::FailureClass;

use crate::reconcile::facts::Step;

/// The reason that a failure of a step gives its condition; whether it is permanent is the reason's to say.
///
/// A class that makes no sense for listing (a full disk) is a defect of the fetcher, and tried again.
#[must_use]
pub fn reason_of(step: Step, class: FailureClass) -> Reason {
    let reason = any_reason_of(class);
    let fits = match step {
        Step::Plan => reason.conditions().contains(&ConditionType::SourceResolved),
        Step::Fetch => true,
    };
    if fits { reason } else { Reason::FetcherFailed }
}

const fn any_reason_of(class: FailureClass) -> Reason {
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
    use super::*;

    #[test]
    fn a_class_and_its_reason_agree_on_whether_it_is_permanent() {
        for class in FailureClass::ALL {
            assert_eq!(
                reason_of(Step::Fetch, class).is_permanent(),
                class.is_permanent(),
                "{class}"
            );
        }
    }

    #[test]
    fn the_reason_may_stand_on_the_condition_of_its_step() {
        for class in FailureClass::ALL {
            let reason = reason_of(Step::Plan, class);
            assert!(reason.conditions().contains(&ConditionType::SourceResolved), "{class}");
            let on = reason_of(Step::Fetch, class).conditions();
            assert!(
                on.contains(&ConditionType::Fetched) || on.contains(&ConditionType::Verified),
                "{class}"
            );
        }
    }
}
