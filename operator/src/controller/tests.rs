use kube::runtime::watcher::Event;
use modelcache_crds::model_cache::Progress;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

fn cache(name: &str, reason: &str) -> Value {
    json!({
        "apiVersion": "modelcache.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": name, "namespace": "demo", "uid": name, "generation": 1 },
        "spec": { "source": { "huggingFace": { "repo": "org/llama" } } },
        "status": { "conditions": [{
            "type": "Ready", "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] },
    })
}

fn guarded(object: Value) -> Guarded {
    serde_json::from_value(object).unwrap()
}

fn changed(change: impl FnOnce(&mut ModelCache)) -> u64 {
    let mut guard = guarded(cache("llama", "Fetching"));
    change(guard.0.as_mut().unwrap());
    trigger_hash(&guard)
}

#[test]
fn of_the_operators_own_status_writes_only_results_trigger_a_reconcile() {
    let before = changed(|_| {});
    let with_status =
        |change: fn(&mut modelcache_crds::ModelCacheStatus)| changed(|cache| change(cache.status.as_mut().unwrap()));
    assert_eq!(
        with_status(|status| status.progress = Some(Progress::default())),
        before
    );
    assert_eq!(
        with_status(|status| status.conditions[0].message = "other".to_owned()),
        before
    );
    assert_ne!(
        with_status(|status| status.published_digest = Some("sha256:1".to_owned())),
        before
    );
    assert_ne!(changed(|cache| cache.status = None), before);
    assert_ne!(changed(|cache| cache.metadata.generation = Some(2)), before);
    assert_ne!(
        changed(|cache| drop(
            cache
                .annotations_mut()
                .insert(names::ANNOTATION_RETRY.to_owned(), "1".to_owned())
        )),
        before
    );
}

#[test]
fn a_change_of_nodes_triggers_only_the_caches_that_wait_for_nodes() {
    let (reader, mut writer) = store();
    for (name, reason) in [
        ("short", "InsufficientMemory"),
        ("none", "NoNodesMatch"),
        ("fine", "Ready"),
    ] {
        writer.apply_watcher_event(&Event::Apply(guarded(cache(name, reason))));
    }
    let mut woken: Vec<String> = waiting_for(&reader, &[ConditionType::CapacityAvailable])
        .into_iter()
        .map(|object| object.name)
        .collect();
    woken.sort();
    assert_eq!(woken, ["none", "short"]);
}

#[test]
fn a_child_leads_to_its_modelcache_whatever_the_length_of_its_name() {
    let name = "a".repeat(200);
    let mut pod = Pod::default();
    pod.metadata.namespace = Some("demo".to_owned());
    assert_eq!(cache_of(&pod), None);
    pod.annotations_mut()
        .insert(names::ANNOTATION_CACHE.to_owned(), name.clone());
    assert_eq!(cache_of(&pod), Some(ObjectRef::new(&name).within("demo")));
}
