use proptest::prelude::*;
use serde_json::json;
use tokio::time::{Instant, timeout};
use watcher::Event;

use super::*;

fn node(name: &str, memory: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "status": {"allocatable": {"memory": memory}, "conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap()
}

fn pod(uid: &str, memory: &str, phase: &str, cache_uid: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"uid": uid, "name": uid, "labels": {"modelcache.dev/cache-uid": cache_uid}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"memory": memory}}}]},
        "status": {"phase": phase},
    }))
    .unwrap()
}

fn view_of_one_node() -> ClusterView {
    let view = ClusterView::default();
    for event in [Event::Init, Event::InitApply(node("n", "10Gi")), Event::InitDone] {
        view.see_node(&event);
    }
    for event in [Event::Init, Event::InitDone] {
        view.see_pod(&event);
    }
    view
}

fn fits(view: &ClusterView, gibi: i64, cache_uid: &str) -> bool {
    let needs = Needs {
        memory: Some(gibi << 30),
        gpu: None,
    };
    let capacity = view.capacity_for(cache_uid, Some("demo/mine"));
    capacity.assess(&needs, &Placement::default()).fits()
}

#[test]
fn a_consumer_of_the_model_does_not_keep_its_next_revision_out_but_any_other_pod_does() {
    let view = view_of_one_node();
    let mut consumer = pod("a", "4Gi", "Running", "");
    consumer.metadata.namespace = Some("demo".to_owned());
    consumer.metadata.labels = None;
    consumer.spec.as_mut().unwrap().volumes = serde_json::from_value(json!([
        {"name": "models", "persistentVolumeClaim": {"claimName": "mine"}},
    ]))
    .unwrap();
    view.see_pod(&Event::Apply(consumer.clone()));
    assert!(fits(&view, 10, "mine"));
    consumer.metadata.namespace = Some("elsewhere".to_owned());
    view.see_pod(&Event::Apply(consumer));
    assert!(!fits(&view, 10, "mine"), "a claim of that name in another namespace");
}

#[test]
fn a_pod_holds_its_requests_from_binding_until_it_ends_or_is_gone() {
    let view = view_of_one_node();
    assert!(fits(&view, 10, ""));
    view.see_pod(&Event::Apply(pod("a", "4Gi", "Running", "other")));
    assert!(!fits(&view, 10, "") && fits(&view, 6, ""));
    view.see_pod(&Event::Apply(pod("a", "4Gi", "Succeeded", "other")));
    assert!(fits(&view, 10, ""));
    view.see_pod(&Event::Apply(pod("b", "4Gi", "Pending", "other")));
    assert!(!fits(&view, 10, ""));
    view.see_pod(&Event::Delete(pod("b", "4Gi", "Pending", "other")));
    assert!(fits(&view, 10, ""));
}

#[test]
fn a_cache_does_not_count_its_own_fetcher_but_every_other_one() {
    let view = view_of_one_node();
    view.see_pod(&Event::Apply(pod("a", "4Gi", "Running", "mine")));
    assert!(fits(&view, 10, "mine"));
    assert!(!fits(&view, 10, "another"));
}

#[test]
fn a_pod_deleted_while_the_watch_was_broken_is_gone_after_the_next_list() {
    let view = view_of_one_node();
    view.see_pod(&Event::Apply(pod("a", "4Gi", "Running", "other")));
    view.see_pod(&Event::Apply(pod("b", "1Gi", "Running", "other")));
    view.see_pod(&Event::Init);
    view.see_pod(&Event::InitApply(pod("b", "1Gi", "Running", "other")));
    assert!(!fits(&view, 9, ""), "the former list holds until the new one is whole");
    view.see_pod(&Event::InitDone);
    assert!(fits(&view, 9, "") && !fits(&view, 10, ""));
}

#[tokio::test(start_paused = true)]
async fn it_is_synced_once_both_kinds_are_listed() {
    let view = ClusterView::default();
    view.see_node(&Event::InitDone);
    let soon = Duration::from_millis(10);
    assert!(timeout(soon, view.synced()).await.is_err());
    view.see_pod(&Event::InitDone);
    assert!(timeout(soon, view.synced()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_is_one_tick_and_a_heartbeat_is_no_tick() {
    let view = view_of_one_node();
    let mut changes = Box::pin(view.changes());
    let start = Instant::now();
    for uid in ["a", "b", "c"] {
        view.see_pod(&Event::Apply(pod(uid, "1Gi", "Running", "other")));
    }
    changes.next().await;
    assert!(start.elapsed() >= CAPACITY_DEBOUNCE);
    view.see_pod(&Event::Apply(pod("a", "1Gi", "Running", "other")));
    view.see_node(&Event::Apply(node("n", "10Gi")));
    let tick = timeout(Duration::from_mins(1), changes.next()).await;
    assert!(tick.is_err(), "the capacity check sees no change");
    view.see_node(&Event::Apply(node("n", "12Gi")));
    assert!(timeout(Duration::from_secs(3), changes.next()).await.is_ok());
}

#[test]
fn a_former_capacity_stays_as_it_was_while_the_view_moves_on() {
    let view = view_of_one_node();
    let before = view.capacity_for("", None);
    view.see_pod(&Event::Apply(pod("a", "4Gi", "Running", "other")));
    let needs = Needs {
        memory: Some(10 << 30),
        gpu: None,
    };
    assert!(before.assess(&needs, &Placement::default()).fits());
    assert!(!fits(&view, 10, ""));
}

#[test]
fn a_pod_of_absurd_requests_leaves_no_trace_when_it_is_gone() {
    let view = view_of_one_node();
    view.see_pod(&Event::Apply(pod("a", "4Gi", "Running", "other")));
    for uid in ["b", "c"] {
        view.see_pod(&Event::Apply(pod(uid, "7Ei", "Running", "other")));
    }
    for uid in ["b", "c"] {
        view.see_pod(&Event::Delete(pod(uid, "7Ei", "Running", "other")));
    }
    assert!(fits(&view, 6, "") && !fits(&view, 7, ""));
}

proptest! {
    #[test]
    fn usage_kept_through_changes_is_that_of_a_fresh_list(
        changes in prop::collection::vec((0u8..3, "[a-d]", 1..4i64), 0..30),
    ) {
        let view = view_of_one_node();
        let mut live = std::collections::BTreeMap::new();
        for (kind, uid, gibi) in changes {
            let phase = if kind == 1 { "Succeeded" } else { "Running" };
            let pod = pod(&uid, &format!("{gibi}Gi"), phase, "other");
            if kind == 0 {
                view.see_pod(&Event::Delete(pod));
                live.remove(&uid);
            } else {
                view.see_pod(&Event::Apply(pod.clone()));
                live.insert(uid, pod);
            }
        }
        let fresh: Usage = live.values().filter_map(PodFacts::of).collect::<Vec<_>>().iter().collect();
        let capacity = view.capacity_for("", None);
        prop_assert_eq!(capacity.usage.as_ref(), &fresh);
    }
}
