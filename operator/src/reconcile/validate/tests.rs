use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;
use modelcache_crds::model_cache::{AccessMode, ReclaimPolicy};

fn cache(spec: &Value) -> ModelCache {
    serde_json::from_value(json!({
        "apiVersion": "modelcache.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": "llama-3.2", "namespace": "demo", "uid": "uid-1" },
        "spec": spec,
    }))
    .unwrap()
}

#[test]
fn defaults_are_filled_in() {
    let valid = validate(&cache(&json!({ "source": { "huggingFace": { "repo": "org/llama" } } }))).unwrap();
    assert_eq!(valid.source.kind().revision(), Some("main"));
    let ClaimPlan::Own(own) = &valid.claim else {
        panic!("{:?}", valid.claim)
    };
    assert_eq!(own.name, names::claim_name("llama-3.2"));
    assert_eq!(own.access_modes, [AccessMode::ReadWriteOnce]);
    assert_eq!(own.reclaim, ReclaimPolicy::Retain);
    assert_eq!((valid.needs, own.size), (None, None));
}

#[test]
fn a_spec_that_passes_the_schema_and_cannot_be_parsed_is_invalid() {
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
fn a_layout_that_does_not_fit_the_source_is_invalid() {
    let hugging_face = json!({ "huggingFace": { "repo": "org/llama" } });
    let ollama = json!({ "ollama": { "model": "llama3.2" } });
    let http = json!({ "http": { "url": "https://host/SHA256SUMS" } });
    for (source, layout, error) in [
        (&hugging_face, "HuggingFaceCache", None),
        (&hugging_face, "Ollama", Some("source.huggingFace: write Directory")),
        (&ollama, "Ollama", None),
        (&ollama, "Directory", Some("source.ollama: write Ollama")),
        (&http, "Directory", None),
        (&http, "HuggingFaceCache", Some("source.http: write Directory")),
    ] {
        let spec = json!({ "source": source, "storage": { "layout": layout } });
        let expected =
            error.map(|error| format!("storage.layout {layout} does not fit {error}, or leave storage.layout out"));
        let found = validate(&cache(&spec)).err().map(|error| error.to_string());
        assert_eq!(found, expected, "{spec}");
    }
}
