use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

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
fn defaults_are_filled_in() {
    let valid = validate(&cache(&json!({ "source": { "huggingFace": { "repo": "org/llama" } } }))).unwrap();
    assert_eq!(valid.source.revision(), Some("main"));
    let ClaimPlan::Own(own) = &valid.claim else {
        panic!("{:?}", valid.claim)
    };
    assert_eq!(own.name, names::claim_name("llama-3.2"));
    assert_eq!(own.access_modes, [AccessMode::ReadWriteOnce]);
    assert_eq!(own.reclaim, ReclaimPolicy::Retain);
    assert_eq!((valid.needs, own.size), (None, None));
}

#[test]
fn what_the_schema_lets_through_and_cannot_be_done_is_an_invalid_spec() {
    let spec = json!({ "source": {} });
    assert_eq!(validate(&cache(&spec)), Err(InvalidSpec::NoSource));
    for (field, spec) in [
        (
            "storage.size",
            json!({ "source": { "huggingFace": { "repo": "a/b" } }, "storage": { "size": "much" } }),
        ),
        (
            "requirements.memory",
            json!({ "source": { "huggingFace": { "repo": "a/b" } }, "requirements": { "memory": "-1" } }),
        ),
    ] {
        let error = validate(&cache(&spec)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{field} is not a positive quantity")),
            "{error}"
        );
    }
}

#[test]
fn a_fetch_without_a_layout_has_the_inputs_it_had_before_there_were_any() {
    let spec = json!({
        "source": { "huggingFace": { "repo": "org/llama" } },
        "fetch": { "connections": 2, "maxBytesPerSecond": "1Mi", "resources": { "limits": { "memory": "1Gi" } } },
    });
    let valid = validate(&cache(&spec)).unwrap();
    let inputs = TransferInputs {
        transfer: &valid.transfer,
        hub_cache: valid.hub_cache(&resolved()),
    };
    let written = [serde_json::to_string(&inputs), serde_json::to_string(&valid.transfer)];
    let [with_layouts, before] = written.map(Result::unwrap);
    assert_eq!(with_layouts, before);
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
