use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_crds::report::{FailureClass, Report};
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::simulation::{Simulation, failure, is, simple_spec};
use crate::reconcile::facts::waiting_reason::WaitingReason;
use crate::reconcile::facts::{PodPhase, Step};
use crate::reconcile::failure_reason::failure_reason;

fn planning() -> Simulation {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.reconcile();
    cluster.start_pods();
    cluster
}

fn fetching() -> Simulation {
    let mut cluster = planning();
    cluster.succeed();
    cluster.reconcile();
    cluster.start_pods();
    cluster.reconcile();
    cluster
}

#[test]
fn every_failure_of_a_plan_shows_its_reason_and_stops_or_is_retried() {
    for class in FailureClass::ALL {
        let mut cluster = planning();
        cluster.fail(&failure(class));
        let decision = cluster.reconcile();
        let reason = failure_reason(Step::Plan, class);
        assert_eq!(cluster.ready(), is("False", reason.as_str()), "{class}");
        let attempts = cluster.status.attempts.clone().unwrap();
        assert_eq!(attempts.count, 1);
        assert_eq!(attempts.last_failure.as_ref().unwrap().class, class);
        assert_eq!(attempts.next_attempt_time.is_none(), reason.is_permanent(), "{class}");
        let stalled = cluster.condition(ConditionType::Stalled);
        if reason.is_permanent() {
            assert_eq!(stalled, is("True", reason.as_str()));
            cluster.pass(100_000);
            assert!(cluster.reconcile().actions.is_empty(), "{class}");
        } else {
            assert_eq!(stalled, is("False", "Progressing"));
            assert!((4..=6).contains(&decision.requeue.as_secs()), "{:?}", decision.requeue);
            cluster.pass(7);
            cluster.reconcile();
            assert_eq!(
                cluster
                    .jobs(Step::Plan)
                    .iter()
                    .map(|job| job.attempt)
                    .collect::<Vec<_>>(),
                [1, 2]
            );
            cluster.reconcile();
            assert_eq!(
                cluster
                    .jobs(Step::Plan)
                    .iter()
                    .map(|job| job.attempt)
                    .collect::<Vec<_>>(),
                [2]
            );
        }
    }
}

#[test]
fn every_failure_of_a_fetch_shows_its_reason_and_stops_or_is_retried() {
    for class in FailureClass::ALL {
        let mut cluster = fetching();
        cluster.fail(&failure(class));
        let decision = cluster.reconcile();
        let reason = failure_reason(Step::Fetch, class);
        assert_eq!(cluster.ready(), is("False", reason.as_str()), "{class}");
        assert_eq!(decision.tally.failed, Some(class), "counted once");
        assert_eq!(cluster.reconcile().tally.failed, None, "counted once");
        let message = cluster.message(ConditionType::Ready);
        assert!(message.starts_with(&format!("it failed with {class}")), "{message}");
        if reason.is_permanent() {
            cluster.pass(100_000);
            assert!(cluster.reconcile().actions.is_empty(), "{class}");
            assert_eq!(cluster.jobs(Step::Fetch).len(), 1, "kept for its logs");
        } else {
            assert!(message.contains("; attempt 2 starts at "), "{message}");
            cluster.settle();
            assert_eq!(cluster.ready(), is("True", "Ready"));
            assert_eq!(cluster.status.attempts, None, "a success starts over");
        }
    }
}

#[test]
fn wrong_bytes_show_on_verified_not_on_fetched() {
    for class in [FailureClass::DigestMismatch, FailureClass::InvalidFormat] {
        let mut cluster = fetching();
        cluster.fail(&failure(class));
        cluster.reconcile();
        let reason = class.to_string();
        assert_eq!(cluster.condition(ConditionType::Fetched), is("True", "Fetched"));
        assert_eq!(cluster.condition(ConditionType::Verified), is("False", &reason));
        assert_eq!(cluster.condition(ConditionType::Stalled), is("True", &reason));
        assert_eq!(cluster.status.published_digest, None);
    }
}

#[test]
fn pauses_double_and_a_source_that_asks_for_longer_gets_it() {
    let mut cluster = fetching();
    let mut pauses = Vec::new();
    for _ in 0..4 {
        cluster.fail(&failure(FailureClass::SourceUnreachable));
        cluster.reconcile();
        let next = cluster.status.attempts.clone().unwrap().next_attempt_time.unwrap();
        pauses.push(next.0.duration_since(cluster.now).as_secs());
        cluster.now = next.0;
        cluster.reconcile();
        cluster.start_pods();
    }
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{pauses:?}");

    let Report::Failed(mut limited) = failure(FailureClass::RateLimited) else {
        unreachable!()
    };
    limited.retry_after_seconds = Some(900);
    cluster.fail(&Report::Failed(limited));
    cluster.reconcile();
    let next = cluster.status.attempts.clone().unwrap().next_attempt_time.unwrap();
    assert_eq!(next.0.duration_since(cluster.now).as_secs(), 900);
}

#[test]
fn a_pod_that_vanished_counts_as_killed_after_a_grace_period() {
    let mut cluster = fetching();
    cluster.kill_pods();
    cluster.reconcile();
    assert_eq!(cluster.status.attempts, None, "its report may still come");
    cluster.pass(5);
    cluster.reconcile();
    assert_eq!(cluster.status.attempts.as_ref().unwrap().count, 1);
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[test]
fn a_failed_job_deleted_by_hand_is_not_forgotten() {
    let mut cluster = planning();
    cluster.fail(&failure(FailureClass::RepositoryNotFound));
    cluster.reconcile();
    cluster.observed.jobs.clear();
    cluster.observed.pods.clear();
    assert!(cluster.reconcile().actions.is_empty());
    assert_eq!(cluster.ready(), is("False", "RepositoryNotFound"));
}

#[test]
fn a_failure_that_was_never_written_is_read_from_its_job_again() {
    let mut cluster = planning();
    for _ in 0..3 {
        cluster.fail(&failure(FailureClass::SourceError));
        cluster.reconcile();
        cluster.pass(700);
        cluster.reconcile();
        cluster.start_pods();
    }
    cluster.fail(&failure(FailureClass::SourceError));
    cluster.status.attempts = None;
    cluster.reconcile();
    assert_eq!(cluster.status.attempts.as_ref().unwrap().count, 4);
}

#[test]
fn a_retry_asked_for_starts_over_at_once() {
    for class in [FailureClass::AccessDenied, FailureClass::SourceUnreachable] {
        let mut cluster = planning();
        cluster.fail(&failure(class));
        cluster.reconcile();
        cluster.cache.retry = Some("1".to_owned());
        cluster.reconcile();
        assert_eq!(cluster.ready(), is("False", "Resolving"), "{class}");
        assert_eq!(cluster.status.attempts, None);
        cluster.settle();
        assert_eq!(cluster.ready(), is("True", "Ready"));
    }
}

#[test]
fn a_source_that_changed_is_planned_again_once_a_retry_is_asked_for() {
    let mut cluster = fetching();
    cluster.fail(&failure(FailureClass::SourceChanged));
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "SourceChanged"));
    assert!(cluster.reconcile().actions.is_empty());
    cluster.cache.retry = Some("1".to_owned());
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "Resolving"));
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[rstest]
#[case(Reason::Unschedulable)]
#[case(Reason::ImagePullFailed)]
#[case(Reason::SecretNotFound)]
#[case(Reason::SecretKeyNotFound)]
#[case(Reason::FetcherFailed)]
fn a_pod_that_waits_shows_its_reason_and_is_not_a_failed_attempt(#[case] reason: Reason) {
    for (step, kind) in [
        (Step::Plan, ConditionType::SourceResolved),
        (Step::Fetch, ConditionType::Fetched),
    ] {
        let mut cluster = Simulation::new(&simple_spec("main"));
        cluster.reconcile();
        if step == Step::Fetch {
            cluster.start_pods();
            cluster.succeed();
            cluster.reconcile();
        }
        for pod in cluster.observed.pods.iter_mut().filter(|pod| pod.step == step) {
            pod.phase = PodPhase::Starting(Some(WaitingReason {
                reason,
                message: "this is in the way".to_owned(),
            }));
        }
        cluster.reconcile();
        assert_eq!(cluster.condition(kind), is("False", reason.as_str()));
        assert_eq!(cluster.message(kind), "this is in the way");
        assert_eq!(
            cluster.ready(),
            is("False", reason.as_str()),
            "not hidden behind the claim that waits for it"
        );
        assert_eq!(cluster.status.attempts, None);
        assert_eq!(cluster.condition(ConditionType::Stalled), is("False", "Progressing"));
    }
}

#[test]
fn a_job_without_a_pod_is_reported_after_half_a_minute() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.reconcile();
    cluster.observed.pods.clear();
    let decision = cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "Resolving"));
    assert_eq!(decision.requeue.as_secs(), 31);
    cluster.pass(31);
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "PodRejected"));
    assert!(
        cluster
            .message(ConditionType::Ready)
            .contains("kubectl describe job llama-plan-")
    );
}

#[test]
fn the_report_of_a_deleted_jobs_pod_is_not_taken_for_that_of_the_next_job_of_its_name() {
    let mut cluster = fetching();
    cluster.succeed();
    let former = cluster.jobs(Step::Fetch)[0].clone();
    // The claim goes before the report was read: the same inputs make another Job of the same name.
    cluster.observed.claim = None;
    for _ in 0..3 {
        cluster.reconcile();
        // The Job controller has not created its pod yet, and the former one has not been collected.
        cluster.observed.pods.retain(|pod| pod.job_uid == former.uid);
        cluster.pass(1);
    }
    let next = cluster.jobs(Step::Fetch)[0].clone();
    assert!(next.name == former.name && next.uid != former.uid);
    assert!(cluster.observed.pods.iter().any(|pod| pod.report().is_some()));
    assert_eq!(cluster.status.published_digest, None, "nothing is on the new claim");
    assert_eq!(
        cluster.condition(ConditionType::Fetched),
        is("Unknown", "FetcherStarting")
    );
}

#[test]
fn a_pod_that_does_not_start_within_minutes_is_reported_with_a_command_to_run() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.reconcile();
    let decision = cluster.reconcile();
    assert_eq!(
        cluster.condition(ConditionType::SourceResolved),
        is("Unknown", "Resolving")
    );
    assert!(decision.requeue.as_secs() <= 121, "it is checked again");
    cluster.pass(180);
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "FetcherStarting"));
    let message = cluster.message(ConditionType::Ready);
    assert!(message.contains("has not started within 2 min"), "{message}");
    assert!(message.contains("kubectl describe pod"), "{message}");
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[test]
fn a_failure_is_recorded_while_a_sidecar_keeps_the_job_running() {
    let mut cluster = fetching();
    // The pod, and with it the Job, runs as long as its sidecar does.
    cluster.is_lagging = true;
    cluster.fail(&failure(FailureClass::DiskFull));
    cluster.pass(1);
    cluster.reconcile();
    let attempts = cluster.status.attempts.clone().unwrap();
    assert_eq!(attempts.count, 1);
    assert_eq!(attempts.last_failure.unwrap().class, FailureClass::DiskFull);
    assert_eq!(
        cluster.ready(),
        is("False", failure_reason(Step::Fetch, FailureClass::DiskFull).as_str())
    );
}
