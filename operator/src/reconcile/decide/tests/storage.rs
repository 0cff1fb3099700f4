use modelcache_crds::conditions::ConditionType;
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

use super::simulation::{BYTES, Simulation, is, simple_spec};
use crate::reconcile::decide::Action;
use crate::reconcile::facts::{BindingMode, ClaimFacts, ClaimPhase, Step};

fn with_storage(storage: Value) -> Value {
    let mut spec = simple_spec("main");
    spec["storage"] = storage;
    spec
}

/// A cluster in which the source is resolved and the claim comes next.
fn resolved(spec: &Value) -> Simulation {
    let mut cluster = Simulation::new(spec);
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    cluster
}

fn storage(cluster: &Simulation) -> (String, String) {
    cluster.condition(ConditionType::StorageReady)
}

#[test]
fn a_size_below_the_files_is_refused_before_a_claim_is_made() {
    let mut cluster = resolved(&with_storage(json!({ "size": "10Mi" })));
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimTooSmall"));
    assert_eq!(cluster.condition(ConditionType::Stalled), is("True", "ClaimTooSmall"));
    let message = cluster.message(ConditionType::Ready);
    assert!(
        message.starts_with("storage.size is 10.0 MiB, the files need 85.8 MiB"),
        "{message}"
    );
    assert!(cluster.observed.claim.is_none());
    cluster.change_spec(&with_storage(json!({ "size": "1Gi" })));
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[rstest]
#[case(json!({}), "no default StorageClass")]
#[case(json!({ "storageClassName": "fast" }), "StorageClass fast does not exist")]
fn without_its_class_the_claim_waits_and_no_fetcher_starts(#[case] wanted: Value, #[case] message: &str) {
    let mut cluster = resolved(&with_storage(wanted));
    let classes = std::mem::take(&mut cluster.observed.classes);
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "StorageClassNotFound"));
    assert!(cluster.message(ConditionType::Ready).contains(message));
    assert!(cluster.jobs(Step::Fetch).is_empty());
    assert!(
        cluster.observed.claim.is_some(),
        "created, because a person may create a volume for it"
    );
    cluster.observed.classes = classes;
    cluster.observed.claim.as_mut().unwrap().storage_class = Some("standard".to_owned());
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[test]
fn a_class_that_binds_at_once_is_waited_for_with_the_fetcher_created() {
    let mut cluster = resolved(&simple_spec("main"));
    cluster.observed.classes[0].binding = BindingMode::Immediate;
    cluster.reconcile();
    assert_eq!(storage(&cluster), is("Unknown", "ClaimPending"));
    assert_eq!(cluster.jobs(Step::Fetch).len(), 1);
}

#[test]
fn a_claim_of_somebody_else_is_left_alone() {
    let mut cluster = resolved(&simple_spec("main"));
    cluster.observed.claim = Some(ClaimFacts {
        uid: "foreign".to_owned(),
        phase: ClaimPhase::Bound,
        requested: BYTES * 2,
        capacity: Some(BYTES * 2),
        ..ClaimFacts::default()
    });
    let decision = cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimNotOwned"));
    assert_eq!(cluster.condition(ConditionType::Stalled), is("True", "ClaimNotOwned"));
    assert!(
        !decision
            .actions
            .iter()
            .any(|action| matches!(action, Action::ApplyClaim { .. }))
    );
}

#[test]
fn an_existing_claim_is_waited_for_used_in_its_folder_and_never_changed() {
    let existing = json!({ "existingClaim": { "claimName": "shared", "subPath": "models/llama" } });
    let mut cluster = resolved(&with_storage(existing));
    let decision = cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimNotFound"));
    assert!(decision.requeue.as_secs() <= 30, "claims of others are not watched");
    cluster.observed.claim = Some(ClaimFacts {
        uid: "given".to_owned(),
        phase: ClaimPhase::Bound,
        requested: BYTES - 1,
        capacity: Some(BYTES - 1),
        ..ClaimFacts::default()
    });
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimTooSmall"));
    let claim = cluster.observed.claim.as_mut().unwrap();
    (claim.requested, claim.capacity) = (BYTES, Some(BYTES));
    let decision = cluster.reconcile();
    assert!(
        !decision
            .actions
            .iter()
            .any(|action| matches!(action, Action::ApplyClaim { .. }))
    );
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.status.claim_name.as_deref(), Some("shared"));
    assert_eq!(cluster.status.path.as_deref(), Some("models/llama/current"));
}

#[test]
fn a_lost_claim_stops_everything_until_it_is_deleted_and_created_again() {
    let mut cluster = resolved(&simple_spec("main"));
    cluster.settle();
    cluster.observed.claim.as_mut().unwrap().phase = ClaimPhase::Lost;
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimLost"));
    cluster.observed.claim.as_mut().unwrap().is_deleting = true;
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimPending"));
    cluster.observed.claim = None;
    let publications = cluster.publications;
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(
        cluster.publications,
        publications + 1,
        "nothing of the lost claim is taken for published"
    );
}

#[test]
fn a_larger_size_expands_the_claim_of_a_ready_model_without_a_word_on_ready() {
    let mut cluster = resolved(&simple_spec("main"));
    cluster.settle();
    cluster.change_spec(&with_storage(json!({ "size": "1Gi" })));
    let decision = cluster.reconcile();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert!(matches!(
        decision.actions[..],
        [Action::ApplyClaim {
            bytes: 1_073_741_824,
            required: false,
            ..
        }]
    ));
    cluster.change_spec(&with_storage(json!({ "size": "200Mi" })));
    assert!(cluster.reconcile().actions.is_empty(), "a claim never shrinks");
}

#[test]
fn a_reclaim_policy_is_applied_although_the_source_cannot_be_resolved() {
    let mut cluster = resolved(&with_storage(json!({ "reclaimPolicy": "Delete" })));
    cluster.settle();
    let owner = cluster.cache.uid.clone();
    cluster.observed.claim.as_mut().unwrap().owners = vec![owner];
    let mut kept = simple_spec("no-such-revision");
    kept["storage"] = json!({ "reclaimPolicy": "Retain" });
    cluster.change_spec(&kept);
    let decision = cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "Resolving"));
    assert!(
        decision
            .actions
            .iter()
            .any(|action| matches!(action, Action::ApplyClaim { required: false, .. })),
        "{:?}",
        decision.actions
    );
}

#[test]
fn a_claim_without_a_volume_is_not_expanded_and_is_reported_when_too_small() {
    let mut cluster = resolved(&simple_spec("main"));
    cluster.reconcile();
    let claim = cluster.observed.claim.as_mut().unwrap();
    claim.requested = BYTES;
    let grows = |action: &Action| matches!(action, Action::ApplyClaim { bytes, .. } if *bytes > BYTES);
    assert!(!cluster.reconcile().actions.iter().any(grows));
    cluster.observed.claim.as_mut().unwrap().requested = BYTES - 1;
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "ClaimTooSmall"));
    let message = cluster.message(ConditionType::Ready);
    assert!(
        message.contains("delete the claim, then the operator creates a larger one"),
        "{message}"
    );
    cluster.observed.claim = None;
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}

#[test]
fn a_folder_in_which_another_works_is_left_alone_until_that_one_is_gone() {
    let existing = json!({ "existingClaim": { "claimName": "shared" } });
    let mut cluster = resolved(&with_storage(existing));
    cluster.observed.claim = Some(ClaimFacts {
        uid: "given".to_owned(),
        phase: ClaimPhase::Bound,
        requested: BYTES,
        capacity: Some(BYTES),
        ..ClaimFacts::default()
    });
    cluster.observed.conflicting_cache = Some("first".to_owned());
    let decision = cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "StorageBusy"));
    let message = cluster.message(ConditionType::Ready);
    assert!(message.contains("ModelCache first uses the same folder"), "{message}");
    assert!(cluster.jobs(Step::Fetch).is_empty());
    assert!(decision.requeue.as_secs() <= 30);
    cluster.observed.conflicting_cache = None;
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
}
