use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::*;

fn job(namespace: &str, name: &str, cache_uid: &str) -> Job {
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": namespace, "uid": name, "labels": {
            "modelcache.dev/cache-uid": cache_uid, "modelcache.dev/step": "plan",
            "modelcache.dev/inputs": "0123456789", "modelcache.dev/attempt": "1",
        } },
    }))
    .unwrap()
}

fn found(informers: &Informers, namespace: &str, cache_uid: &str) -> Vec<String> {
    let jobs = informers.jobs.group(&cache_group(namespace, cache_uid));
    jobs.iter().map(|job| job.name.clone()).collect()
}

#[test]
fn a_job_is_found_by_the_modelcache_of_its_own_namespace_only() {
    let (informers, writers) = Informers::new(store().0, store().0);
    writers.jobs.apply(&Event::Apply(job("demo", "own", "uid-1")));
    writers.jobs.apply(&Event::Apply(job("elsewhere", "forged", "uid-1")));
    writers.jobs.apply(&Event::Apply(job("demo", "other", "uid-2")));
    assert_eq!(found(&informers, "demo", "uid-1"), ["own"]);
    assert_eq!(found(&informers, "demo", "uid-3"), [""; 0]);
}

#[test]
fn a_recreated_modelcache_does_not_find_the_jobs_of_the_former_one() {
    let (informers, writers) = Informers::new(store().0, store().0);
    writers.jobs.apply(&Event::Apply(job("demo", "plan", "uid-1")));
    writers.jobs.apply(&Event::Delete(job("demo", "plan", "uid-1")));
    writers.jobs.apply(&Event::Apply(job("demo", "plan", "uid-2")));
    assert_eq!(found(&informers, "demo", "uid-1"), [""; 0]);
    assert_eq!(found(&informers, "demo", "uid-2"), ["plan"]);
}
