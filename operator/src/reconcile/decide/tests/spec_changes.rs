use modelcache_crds::conditions::ConditionType;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::simulation::{Simulation, is, simple_spec};
use crate::reconcile::facts::Step;

#[test]
fn another_revision_waits_for_the_fetcher_of_the_former_to_stop() {
    let mut cluster = Simulation::new(&simple_spec("one"));
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    cluster.reconcile();
    cluster.start_pods();
    cluster.reconcile();
    cluster.change_spec(&simple_spec("two"));
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "Resolving"));
    assert_eq!(cluster.jobs(Step::Fetch).len(), 1, "being deleted, still there");
    assert!(cluster.jobs(Step::Fetch)[0].is_deleting);
    // The listing is done before the former fetcher has stopped.
    for pod in cluster.observed.pods.iter_mut().filter(|pod| pod.step == Step::Fetch) {
        pod.created = cluster.now;
    }
    let fetchers = cluster.observed.pods.clone();
    cluster.start_pods();
    cluster.observed.pods.retain(|pod| pod.step == Step::Plan);
    cluster.succeed();
    cluster
        .observed
        .pods
        .extend(fetchers.into_iter().filter(|pod| pod.step == Step::Fetch));
    cluster.reconcile();
    assert_eq!(
        cluster.condition(ConditionType::Fetched),
        is("Unknown", "FetcherStarting")
    );
    assert_eq!(cluster.jobs(Step::Fetch).len(), 1);
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.status.published_digest.as_deref(), Some("sha256:two"));
}

#[test]
fn a_ready_model_is_replaced_by_another_revision_on_the_same_claim() {
    let mut cluster = Simulation::new(&simple_spec("one"));
    cluster.settle();
    let claim = cluster.observed.claim.clone().unwrap();
    cluster.change_spec(&simple_spec("two"));
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "Resolving"));
    assert_eq!(
        cluster.status.published_digest.as_deref(),
        Some("sha256:one"),
        "that is still what is there"
    );
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.status.published_digest.as_deref(), Some("sha256:two"));
    assert_eq!(cluster.observed.claim.unwrap().uid, claim.uid);
}

#[test]
fn going_back_after_the_other_revision_was_published_unread_does_not_show_the_former_as_published() {
    let mut cluster = Simulation::new(&simple_spec("one"));
    cluster.settle();
    cluster.change_spec(&simple_spec("two"));
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    cluster.reconcile();
    cluster.reconcile();
    cluster.start_pods();
    cluster.succeed();
    assert_eq!(cluster.content.values().next().map(String::as_str), Some("sha256:two"));
    cluster.change_spec(&simple_spec("one"));
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.content.values().next().map(String::as_str), Some("sha256:one"));
}

#[test]
fn another_endpoint_with_the_same_bytes_fetches_nothing() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.settle();
    let publications = cluster.publications;
    let mut spec = simple_spec("main");
    spec["source"]["huggingFace"]["endpoint"] = json!("https://mirror.example");
    cluster.change_spec(&spec);
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.publications, publications);
}

#[test]
fn another_layout_is_published_again_from_the_same_listing() {
    let mut cluster = Simulation::new(&simple_spec("main"));
    cluster.settle();
    assert_eq!(cluster.status.hub_cache, None);
    let (publications, resolved) = (cluster.publications, cluster.status.resolved.clone());
    let mut spec = simple_spec("main");
    spec["storage"] = json!({ "layout": "HuggingFaceCache" });
    cluster.change_spec(&spec);
    cluster.reconcile();
    assert_eq!(cluster.ready(), is("False", "FetcherStarting"));
    assert_eq!(cluster.status.published_digest, None);
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.status.resolved, resolved);
    let found_by = cluster.status.hub_cache.clone().unwrap();
    assert_eq!(
        (found_by.reference.as_str(), found_by.revision.as_str()),
        ("main", "commit-of-main")
    );

    cluster.change_spec(&simple_spec("main"));
    cluster.settle();
    assert_eq!(cluster.ready(), is("True", "Ready"));
    assert_eq!(cluster.status.hub_cache, None);
    assert_eq!(cluster.publications, publications + 2);
}

#[test]
fn a_tag_of_the_published_commit_is_published_again_only_where_clients_look_for_it() {
    for (layout, publications) in [("Directory", 1), ("HuggingFaceCache", 2)] {
        let spec = |revision: &str| {
            let mut spec = simple_spec(revision);
            spec["storage"] = json!({ "layout": layout });
            spec
        };
        let mut cluster = Simulation::new(&spec("main"));
        cluster.settle();
        cluster.change_spec(&spec("tag-of-main"));
        cluster.settle();
        assert_eq!(cluster.ready(), is("True", "Ready"));
        assert_eq!(cluster.publications, publications, "{layout}");
        let found_by = cluster.status.hub_cache.map(|found_by| found_by.reference);
        assert_eq!(found_by.as_deref(), (publications == 2).then_some("tag-of-main"));
    }
}

#[test]
fn a_corrected_placement_replaces_a_job_that_cannot_be_scheduled() {
    let mut spec = simple_spec("main");
    spec["placement"] = json!({ "nodeSelector": { "disk": "fast" } });
    let mut cluster = Simulation::new(&spec);
    cluster.reconcile();
    let first = cluster.jobs(Step::Plan)[0].name.clone();
    cluster.change_spec(&simple_spec("main"));
    cluster.reconcile();
    cluster.collect();
    let jobs = cluster.jobs(Step::Plan);
    assert_eq!(jobs.len(), 1);
    assert_ne!(jobs[0].name, first);
}
