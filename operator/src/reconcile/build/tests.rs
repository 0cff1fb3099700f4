use insta::assert_yaml_snapshot;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use modelcache_crds::model_cache::Resolved;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;
use crate::context::FetcherImage;
use crate::reconcile::facts::ClaimFacts;
use crate::reconcile::validate::{ClaimPlan, validate};

const ATTEMPT: Attempt<'static> = Attempt {
    inputs: "0123456789",
    number: 2,
};

fn cache(spec: &Value) -> ValidatedCache {
    let cache: ModelCache = serde_json::from_value(json!({
        "apiVersion": "modelcache.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": "llama", "namespace": "demo", "uid": "uid-1" },
        "spec": spec,
    }))
    .unwrap();
    validate(&cache).unwrap()
}

fn simple() -> ValidatedCache {
    cache(&json!({ "source": { "huggingFace": { "repo": "org/llama" } } }))
}

fn full() -> ValidatedCache {
    cache(&json!({
        "source": { "huggingFace": {
            "repo": "org/llama", "revision": "v2", "endpoint": "https://hub.example/mirror",
            "tokenSecretRef": { "name": "hf", "key": "key" },
        } },
        "files": { "include": ["*.json", "--hostile"], "exclude": ["old/*"], "formatCheck": "Warn" },
        "storage": {
            "existingClaim": { "claimName": "shared", "subPath": "models/llama" },
            "layout": "HuggingFaceCache",
        },
        "placement": {
            "nodeSelector": { "disk": "fast" },
            "tolerations": [{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }],
        },
        "mirrors": [
            { "url": "https://mirror.example" },
            { "url": "modelscope://org/twin@v2", "endpoint": "https://twins.example" },
        ],
        "fetch": {
            "connections": 16, "parallelFiles": 2, "maxBytesPerSecond": "50Mi", "stallTimeoutSeconds": 30,
            "resources": { "limits": { "memory": "1Gi" } },
        },
    }))
}

fn image() -> FetcherImage {
    FetcherImage {
        image: "registry.example/fetcher:1".to_owned(),
        pull_policy: Some("IfNotPresent".to_owned()),
        pull_secrets: vec!["pull".to_owned()],
    }
}

fn resolved() -> Resolved {
    Resolved {
        revision: "c0ffee".to_owned(),
        digest: "sha256:1234".to_owned(),
        files: 3,
        bytes: 90,
        size: "90 B".to_owned(),
        unpacking_bytes: None,
        resolved_time: Time(jiff::Timestamp::UNIX_EPOCH),
        source_hash: "abcdef".to_owned(),
    }
}

#[test]
fn plan_job_of_a_simple_cache() {
    assert_yaml_snapshot!(plan_job(&simple(), &image(), ATTEMPT));
}

#[test]
fn fetch_job_with_everything_given() {
    assert_yaml_snapshot!(fetch_job(&full(), &resolved(), &image(), ATTEMPT));
}

fn from_claim(storage: &Value) -> ValidatedCache {
    let source = json!({ "persistentVolumeClaim": { "claimName": "weights", "path": "llama/v1" } });
    cache(&json!({ "source": source, "storage": storage }))
}

/// What a Job's pod mounts, as the API has it.
fn mounted(job: k8s_openapi::api::batch::v1::Job) -> Value {
    let pod = job.spec.unwrap().template.spec.unwrap();
    let container = &pod.containers[0];
    json!({ "address": container.args.as_ref().unwrap()[1], "mounts": container.volume_mounts, "volumes": pod.volumes })
}

#[test]
fn a_source_that_is_a_claim_is_mounted_read_only_in_both_jobs() {
    let cache = from_claim(&json!({}));
    assert_yaml_snapshot!("plan_job_of_a_claim", mounted(plan_job(&cache, &image(), ATTEMPT)));
    let fetch = fetch_job(&cache, &resolved(), &image(), ATTEMPT);
    assert_yaml_snapshot!("fetch_job_of_a_claim", mounted(fetch));
}

#[test]
fn a_claim_that_is_source_and_target_is_one_volume() {
    let cache = from_claim(&json!({ "existingClaim": { "claimName": "weights", "subPath": "copy" } }));
    let fetch = fetch_job(&cache, &resolved(), &image(), ATTEMPT);
    assert_yaml_snapshot!("fetch_job_within_a_claim", mounted(fetch));
}

#[test]
fn a_claim_made_and_a_claim_taken_over() {
    let cache = simple();
    let ClaimPlan::Own(own) = &cache.claim else {
        unreachable!()
    };
    assert_yaml_snapshot!("claim_made", claim(&cache, own, 1 << 30, None));
    let current = ClaimFacts {
        storage_class: Some("slow".to_owned()),
        access_modes: vec!["ReadWriteMany".to_owned()],
        ..ClaimFacts::default()
    };
    let taken = claim(&cache, own, 1 << 30, Some(&current)).spec.unwrap();
    assert_eq!(taken.storage_class_name.as_deref(), Some("slow"));
    assert_eq!(taken.access_modes, Some(vec!["ReadWriteMany".to_owned()]));
}

#[test]
fn only_a_claim_to_be_deleted_with_its_modelcache_has_an_owner() {
    let spec = json!({
        "source": { "huggingFace": { "repo": "org/llama" } }, "storage": { "reclaimPolicy": "Delete" },
    });
    let cache = cache(&spec);
    let ClaimPlan::Own(own) = &cache.claim else {
        unreachable!()
    };
    let owners = claim(&cache, own, 1, None).metadata.owner_references.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!((owners[0].uid.as_str(), owners[0].controller), ("uid-1", Some(false)));
}

#[test]
fn every_pod_is_within_the_restricted_pod_security_standard() {
    for job in [
        plan_job(&full(), &image(), ATTEMPT),
        fetch_job(&full(), &resolved(), &image(), ATTEMPT),
    ] {
        let pod = job.spec.unwrap().template.spec.unwrap();
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert_eq!(pod.automount_service_account_token, Some(false));
        let container = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(container.allow_privilege_escalation, Some(false));
        assert_eq!(container.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
        let volumes = pod.volumes.unwrap_or_default();
        assert!(volumes.iter().all(|volume| volume.persistent_volume_claim.is_some()));
    }
}
