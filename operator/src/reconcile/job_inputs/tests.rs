use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;
use crate::reconcile::validate::validate;
use modelcache_crds::ModelCache;

fn cache(spec: &Value) -> ModelCache {
    serde_json::from_value(json!({
        "apiVersion": "modelcache.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": "llama-3.2", "namespace": "demo", "uid": "uid-1" },
        "spec": spec,
    }))
    .unwrap()
}

fn image() -> FetcherImage {
    FetcherImage {
        image: "fetcher:1".to_owned(),
        pull_policy: None,
        pull_secrets: Vec::new(),
    }
}

fn resolved() -> Resolved {
    Resolved {
        revision: "abc".to_owned(),
        digest: "sha256:1".to_owned(),
        files: 1,
        bytes: 1,
        size: "1 B".to_owned(),
        unpacking_bytes: None,
        resolved_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
        source_hash: String::new(),
    }
}

#[test]
fn each_hash_changes_with_what_its_step_depends_on_and_with_nothing_else() {
    let base = json!({ "source": { "huggingFace": { "repo": "org/llama" } } });
    let hashes = |spec: &Value| {
        let valid = validate(&cache(spec)).unwrap();
        (
            valid.source_hash(),
            valid.plan_inputs(&image()),
            valid.fetch_inputs(&resolved(), &image()),
        )
    };
    let before = hashes(&base);
    for (pointer, value, source, plan, fetch) in [
        (
            "revision",
            json!({ "source": { "huggingFace": { "repo": "org/llama", "revision": "v2" } } }),
            true,
            true,
            true,
        ),
        ("files", json!({ "files": { "include": ["*.json"] } }), true, true, true),
        (
            "token",
            json!({ "source": { "huggingFace": { "repo": "org/llama", "tokenSecretRef": { "name": "hf" } } } }),
            false,
            true,
            true,
        ),
        (
            "endpoint",
            json!({ "source": { "huggingFace": { "repo": "org/llama", "endpoint": "https://hub.example" } } }),
            true,
            true,
            true,
        ),
        (
            "placement",
            json!({ "placement": { "nodeSelector": { "a": "b" } } }),
            false,
            true,
            true,
        ),
        ("fetch", json!({ "fetch": { "connections": 2 } }), false, false, true),
        (
            "requirements",
            json!({ "requirements": { "memory": "1Gi" } }),
            false,
            false,
            false,
        ),
        (
            "layout",
            json!({ "storage": { "layout": "HuggingFaceCache" } }),
            false,
            false,
            true,
        ),
        (
            "directory",
            json!({ "storage": { "layout": "Directory" } }),
            false,
            false,
            false,
        ),
        ("size", json!({ "storage": { "size": "1Gi" } }), false, false, false),
    ] {
        let mut spec = base.clone();
        spec.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        let after = hashes(&spec);
        assert_eq!(
            (before.0 != after.0, before.1 != after.1, before.2 != after.2),
            (source, plan, fetch),
            "{pointer}"
        );
    }
}

#[test]
fn a_secret_an_account_an_image_and_a_retry_change_both_jobs_and_not_the_listing() {
    let spec = |s3: Value| json!({ "source": { "s3": s3 } });
    let hashes = |spec: &Value, retry: Option<&str>, image: &FetcherImage| {
        let mut valid = validate(&cache(spec)).unwrap();
        valid.retry = retry.map(str::to_owned);
        (
            valid.source_hash(),
            valid.plan_inputs(image),
            valid.fetch_inputs(&resolved(), image),
        )
    };
    let base = spec(json!({ "bucket": "models" }));
    let before = hashes(&base, None, &image());
    let newer = FetcherImage {
        image: "fetcher:2".to_owned(),
        ..image()
    };
    for after in [
        hashes(
            &spec(json!({ "bucket": "models", "credentialsSecretRef": { "name": "keys" } })),
            None,
            &image(),
        ),
        hashes(
            &spec(json!({ "bucket": "models", "serviceAccountName": "reader" })),
            None,
            &image(),
        ),
        hashes(&base, Some("1"), &image()),
        hashes(&base, None, &newer),
    ] {
        assert_eq!(after.0, before.0);
        assert_ne!(after.1, before.1);
        assert_ne!(after.2, before.2);
    }
}
