use crate::reconcile::source::ModelSource;
use modelcache_crds::conditions::ConditionType;
use modelcache_crds::report::{FailureClass, OriginReport, ProgressReport, Report};
use pretty_assertions::assert_eq;
use serde_json::json;

use super::simulation::{BYTES, Simulation, failure, is, simple_spec};
use crate::capacity::NodeFacts;
use crate::reconcile::facts::Step;

fn node(memory: i64) -> NodeFacts {
    NodeFacts {
        name: "node1".to_owned(),
        ready: true,
        allocatable: [("memory".to_owned(), memory)].into(),
        ..NodeFacts::default()
    }
}

#[test]
fn every_condition_is_set_on_the_first_visit() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.reconcile();
    let kinds: Vec<&str> = cluster
        .status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(kinds, ConditionType::ALL.map(ConditionType::as_str));
    assert!(
        cluster
            .status
            .conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(1))
    );
    assert_eq!(cluster.ready(), is("False", "Resolving"));
    assert_eq!(
        cluster.condition(ConditionType::SourceResolved),
        is("Unknown", "Resolving")
    );
    assert_eq!(cluster.condition(ConditionType::Verified), is("Unknown", "Pending"));
    assert_eq!(cluster.condition(ConditionType::Stalled), is("False", "Progressing"));
}

#[test]
fn a_model_goes_from_plan_to_claim_to_fetch_to_ready_and_leaves_no_job() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.reconcile();
    assert_eq!(cluster.jobs(Step::Plan).len(), 1);
    cluster.start_pods();
    cluster.succeed();

    cluster.reconcile();
    assert_eq!(cluster.condition(ConditionType::SourceResolved), is("True", "Resolved"));
    assert_eq!(
        cluster.condition(ConditionType::CapacityAvailable),
        is("True", "NotRequired")
    );
    assert_eq!(cluster.ready(), is("False", "WaitingForFirstConsumer"));
    assert_eq!(cluster.status.claim_name.as_deref(), Some("llama"));
    let claim = cluster.observed.claim.clone().unwrap();
    assert!(claim.requested >= BYTES + (64 << 20) && claim.requested % (1 << 20) == 0);
    assert_eq!(
        cluster.jobs(Step::Fetch).len(),
        1,
        "not held back by a class that waits for a consumer"
    );
    assert_eq!(
        cluster.jobs(Step::Plan).len(),
        1,
        "stays until status holds what it found"
    );

    cluster.start_pods();
    cluster.observed.progress = Some(ProgressReport {
        bytes_fetched: BYTES / 2,
        bytes_verified: BYTES / 3,
        bytes_total: BYTES,
        bytes_per_second: 1 << 20,
        files_done: 1,
        files_total: 3,
    });
    let decision = cluster.reconcile();
    assert_eq!(
        decision.requeue.as_secs(),
        10,
        "progress is asked for every ten seconds"
    );
    assert_eq!(cluster.jobs(Step::Plan).len(), 0);
    assert_eq!(cluster.condition(ConditionType::StorageReady), is("True", "ClaimBound"));
    assert_eq!(cluster.ready(), is("False", "Fetching"));
    let progress = cluster.status.progress.clone().unwrap();
    assert_eq!(
        (progress.summary.as_str(), progress.speed.as_deref()),
        ("50%", Some("1.00 MiB/s"))
    );
    assert_eq!(progress.eta_seconds, Some(43));

    cluster.succeed();
    cluster.observed.progress = None;
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.condition(ConditionType::Verified), is("True", "DigestsMatch"));
    assert_eq!(cluster.status.published_digest.as_deref(), Some("sha256:main"));
    assert_eq!(cluster.status.path.as_deref(), Some("current"));
    assert_eq!(cluster.status.progress.as_ref().unwrap().percent, 100);
    assert_eq!(
        cluster.jobs(Step::Fetch).len(),
        1,
        "stays until status holds the result"
    );

    cluster.reconcile();
    assert!(cluster.observed.jobs.is_empty());
    let rest = cluster.status.clone();
    cluster.pass(3600);
    assert!(cluster.reconcile().actions.is_empty());
    assert_eq!(cluster.status, rest, "an idle cache is not written");
}

#[test]
fn a_token_more_or_a_retry_asked_for_does_not_fetch_a_ready_model_again() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.settle();
    let before = cluster.status.clone();
    cluster.cache.retry = Some("again".to_owned());
    let ModelSource::HuggingFace(source) = &mut cluster.cache.source else {
        panic!("the simulation's source is another one");
    };
    source.token_secret_ref = Some(modelcache_crds::model_cache::SecretKeyReference {
        name: "hf".to_owned(),
        key: "token".to_owned(),
    });
    cluster.image.image = "fetcher:newer".to_owned();
    assert!(cluster.reconcile().actions.is_empty());
    assert_eq!(cluster.status, before);
}

#[test]
fn nothing_is_fetched_until_a_node_fits_and_then_it_stays_found() {
    let mut spec = simple_spec("main");
    spec["requirements"] = json!({ "memory": "2Gi" });
    let mut cluster = Simulation::new(&spec).with_nodes(vec![node(1 << 30)]);
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "InsufficientMemory"));
    assert_eq!(
        cluster.message(ConditionType::Ready),
        "0 of 1 node fit: node1 has 1Gi of 2Gi memory free"
    );
    assert_eq!(cluster.condition(ConditionType::StorageReady), is("Unknown", "Pending"));
    assert!(cluster.observed.claim.is_none() && cluster.jobs(Step::Fetch).is_empty());
    assert_eq!(cluster.status.capacity.as_ref().unwrap().nodes_fit, 0);

    cluster = cluster.with_nodes(vec![node(4 << 30)]);
    cluster.reconcile();
    assert_eq!(
        cluster.condition(ConditionType::CapacityAvailable),
        is("True", "CapacityFound")
    );
    assert_eq!(cluster.jobs(Step::Fetch).len(), 1);

    // The consumer comes and takes the memory.
    cluster = cluster.with_nodes(vec![node(1)]);
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.status.capacity.as_ref().unwrap().nodes_fit, 1);
}

#[test]
fn the_claim_of_a_deleted_modelcache_is_adopted_with_its_content() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.settle();
    let claim = cluster.observed.claim.clone().unwrap();
    cluster.status = modelcache_crds::ModelCacheStatus::default();
    cluster.cache.uid = "uid-2".to_owned();
    cluster.settle();
    let after = cluster.observed.claim.clone().unwrap();
    assert_eq!(after.uid, claim.uid);
    assert_eq!(after.cache_uid.as_deref(), Some("uid-2"));
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[test]
fn origin_statistics_stay_in_status_until_another_fetch() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.settle();
    let names = |cluster: &Simulation| -> Vec<String> {
        let sources = cluster.status.sources.iter();
        sources.map(|origin| origin.name.clone()).collect()
    };
    assert_eq!(names(&cluster), ["hub@main"]);
    assert!(cluster.jobs(Step::Fetch).is_empty(), "the report itself is gone");

    cluster.change_spec(&simple_spec("v2"));
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    cluster.reconcile();
    cluster.reconcile();
    assert_eq!(cluster.jobs(Step::Fetch).len(), 1);
    assert_eq!(names(&cluster), [""; 0], "nothing is known of a fetch that runs");
    cluster.settle();
    assert_eq!(names(&cluster), ["hub@v2"]);
}

#[test]
fn origin_statistics_of_a_failed_fetch_are_in_status_too() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    cluster.reconcile();
    cluster.reconcile();
    cluster.start_pods();
    let mut report = failure(FailureClass::SourceUnreachable);
    if let Report::Failed(failed) = &mut report {
        failed.origins = vec![OriginReport {
            name: "hub".to_owned(),
            bytes: 3,
            failures: 8,
            last_error: Some("refused".to_owned()),
            dropped: None,
        }];
    }
    cluster.fail(&report);
    cluster.reconcile();
    assert_eq!(cluster.status.sources, report.origins());
    cluster.pass(700);
    cluster.reconcile();
    assert_eq!(cluster.status.sources, report.origins(), "until the next one ends");
}
