use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use modelcache_crds::conditions::{Decided, Status, merge};
use modelcache_crds::model_cache::{Attempts, LastFailure, Resolved};
use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;

use super::*;

fn now() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

/// A status in which this condition, with this reason, holds Ready back.
fn held_back(kind: ConditionType, status: Status, reason: Reason, message: &str) -> ModelCacheStatus {
    let decided = |kind, status| Decided {
        kind,
        status,
        reason,
        message: message.to_owned(),
    };
    ModelCacheStatus {
        conditions: merge(
            &[],
            &[decided(ConditionType::Ready, Status::False), decided(kind, status)],
            1,
            &now(),
        ),
        ..ModelCacheStatus::default()
    }
}

fn fault(reason: Reason, message: &str) -> ModelCacheStatus {
    held_back(reason.conditions()[0], Status::False, reason, message)
}

fn fetching() -> ModelCacheStatus {
    held_back(
        ConditionType::Fetched,
        Status::Unknown,
        Reason::Fetching,
        "12% of 90 MiB",
    )
}

fn ready() -> ModelCacheStatus {
    let mut status = held_back(ConditionType::Ready, Status::True, Reason::Ready, "90 MiB in 3 files");
    status.conditions.truncate(1);
    status.conditions[0].status = "True".to_owned();
    status
}

fn attempted(mut status: ModelCacheStatus, count: i32, class: FailureClass) -> ModelCacheStatus {
    status.attempts = Some(Attempts {
        count,
        last_failure: Some(LastFailure {
            class,
            message: String::new(),
            file: None,
            offset: None,
            time: now(),
        }),
        ..Attempts::default()
    });
    status
}

fn reasons(drafts: &[EventDraft]) -> Vec<(EventType, &str)> {
    drafts.iter().map(|draft| (draft.type_, draft.reason)).collect()
}

#[test]
fn every_fault_is_a_warning_with_its_reason_and_message_and_every_wait_is_silent() {
    for reason in Reason::ALL.iter().copied().filter(|reason| *reason != Reason::Ready) {
        let drafts = for_transitions(&ModelCacheStatus::default(), &fault(reason, "what to do"));
        let warnings: Vec<_> = drafts
            .iter()
            .filter(|draft| draft.type_ == EventType::Warning)
            .collect();
        assert_eq!(warnings.len(), usize::from(is_fault(reason)), "{reason:?}");
        for warning in warnings {
            assert_eq!((warning.reason, warning.note.as_str()), (reason.as_str(), "what to do"));
        }
    }
}

#[test]
fn every_permanent_reason_is_a_fault() {
    for reason in Reason::ALL {
        assert!(!reason.is_permanent() || is_fault(*reason), "{reason:?}");
    }
}

#[test]
fn a_changed_message_alone_is_not_an_event() {
    let before = fault(Reason::InsufficientMemory, "node1 has 3Gi");
    let after = fault(Reason::InsufficientMemory, "node1 has 4Gi");
    assert_eq!(for_transitions(&before, &after), []);
    assert_eq!(for_transitions(&ready(), &ready()), []);
}

#[test]
fn a_fault_is_one_event_whatever_the_number_of_retries() {
    let class = FailureClass::SourceUnreachable;
    let failed = attempted(fault(Reason::SourceUnreachable, "refused"), 1, class);
    assert_eq!(
        reasons(&for_transitions(&fetching(), &failed)),
        [(EventType::Warning, "SourceUnreachable")]
    );
    let running_again = attempted(fetching(), 1, class);
    assert_eq!(for_transitions(&failed, &running_again), []);
    let failed_again = attempted(fault(Reason::SourceUnreachable, "refused"), 2, class);
    assert_eq!(for_transitions(&running_again, &failed_again), []);
    let failed_otherwise = attempted(fault(Reason::DiskFull, "full"), 2, FailureClass::DiskFull);
    assert_eq!(
        reasons(&for_transitions(&running_again, &failed_otherwise)),
        [(EventType::Warning, "DiskFull")]
    );
}

#[test]
fn the_same_fault_after_a_success_is_another_event() {
    let failed = attempted(fault(Reason::RateLimited, "slow down"), 1, FailureClass::RateLimited);
    assert_eq!(
        reasons(&for_transitions(&ready(), &failed)),
        [(EventType::Warning, "RateLimited")]
    );
}

#[test]
fn a_fetch_without_faults_is_three_events() {
    let resolved = |mut status: ModelCacheStatus| {
        status.resolved = Some(Resolved {
            revision: "main".to_owned(),
            digest: "sha256:00".to_owned(),
            files: 3,
            bytes: 90,
            size: "90 B".to_owned(),
            unpacking_bytes: None,
            resolved_time: now(),
            source_hash: String::new(),
        });
        let decided = Decided {
            kind: ConditionType::SourceResolved,
            status: Status::True,
            reason: Reason::Resolved,
            message: "3 files".to_owned(),
        };
        status.conditions.extend(merge(&[], &[decided], 1, &now()));
        status
    };
    let resolving = held_back(ConditionType::SourceResolved, Status::Unknown, Reason::Resolving, "");
    let waiting = resolved(held_back(
        ConditionType::StorageReady,
        Status::Unknown,
        Reason::WaitingForFirstConsumer,
        "",
    ));
    let path = [
        ModelCacheStatus::default(),
        resolving,
        waiting,
        resolved(fetching()),
        resolved(ready()),
    ];
    let drafts: Vec<_> = path
        .windows(2)
        .flat_map(|pair| for_transitions(&pair[0], &pair[1]))
        .collect();
    assert_eq!(
        reasons(&drafts),
        [
            (EventType::Normal, "Resolved"),
            (EventType::Normal, "FetchStarted"),
            (EventType::Normal, "Ready"),
        ]
    );
}

#[test]
fn a_note_is_cut_to_the_limit_of_the_api_at_a_character() {
    let long = "ä".repeat(2000);
    let drafts = for_transitions(&ModelCacheStatus::default(), &fault(Reason::SourceError, &long));
    let note = &drafts[0].note;
    assert!(note.len() <= EVENT_NOTE_MAX_BYTES && note.len() > EVENT_NOTE_MAX_BYTES - 8 && note.ends_with('…'));
}

#[test]
fn reasons_and_actions_fit_the_limits_of_the_api() {
    for reason in Reason::ALL {
        assert!(reason.as_str().len() <= 128 && !action_of(*reason).is_empty());
    }
}

#[test]
fn a_repeated_failure_of_any_class_in_either_step_is_one_event() {
    for class in FailureClass::ALL {
        for (step, kind, running) in [
            (Step::Plan, ConditionType::SourceResolved, Reason::Resolving),
            (Step::Fetch, ConditionType::Fetched, Reason::Fetching),
        ] {
            let with_step = |mut status: ModelCacheStatus| {
                if step == Step::Fetch {
                    let resolved = Decided {
                        kind: ConditionType::SourceResolved,
                        status: Status::True,
                        reason: Reason::Resolved,
                        message: String::new(),
                    };
                    status.conditions.extend(merge(&[], &[resolved], 1, &now()));
                }
                status
            };
            let reason = failure_reason(step, class);
            let failed = |count| with_step(attempted(held_back(kind, Status::False, reason, ""), count, class));
            let retrying = with_step(attempted(held_back(kind, Status::Unknown, running, ""), 1, class));
            assert_eq!(for_transitions(&retrying, &failed(2)), [], "{class} of {step:?}");
        }
    }
}

#[test]
fn an_origin_that_sent_wrong_bytes_is_one_event_and_one_that_failed_is_none() {
    let with_origin = |dropped, name: &str| ModelCacheStatus {
        sources: vec![OriginReport {
            name: name.to_owned(),
            bytes: 1,
            failures: 1,
            last_error: Some("sent wrong bytes of model.safetensors".to_owned()),
            dropped,
        }],
        ..ready()
    };
    let corrupt = with_origin(Some(OriginFault::SentWrongBytes), "https://mirror");
    let drafts = for_transitions(&ready(), &corrupt);
    assert_eq!(reasons(&drafts), [(EventType::Warning, "OriginDropped")]);
    assert_eq!(
        drafts[0].note,
        "origin https://mirror was dropped: it sent wrong bytes of model.safetensors; repair it, or name another mirror"
    );
    assert_eq!(for_transitions(&corrupt, &corrupt), []);
    let another = with_origin(Some(OriginFault::SentWrongBytes), "https://another");
    assert_eq!(for_transitions(&corrupt, &another).len(), 1);
    let failed = with_origin(Some(OriginFault::KeptFailing), "https://mirror");
    assert_eq!(for_transitions(&ready(), &failed), []);
}
