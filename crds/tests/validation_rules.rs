//! Evaluates every validation rule of the schema: each rejects what it is for, with a message that says what to write
//! instead, and none rejects a valid spec.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue fails")]

use std::collections::BTreeSet;

use kube_cel::Validator;
use modelcache_crds::fetch_defaults::{MAX_RATE_LIMIT_BYTES_PER_SECOND, MIN_RATE_LIMIT_BYTES_PER_SECOND};
use modelcache_crds::model_cache::custom_resource_definition;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

fn schema() -> Value {
    let definition = custom_resource_definition();
    serde_json::to_value(definition.spec.versions[0].schema.as_ref().unwrap()).unwrap()["openAPIV3Schema"].clone()
}

/// The messages of all rules in the schema.
fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for rule in members
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let message = rule["message"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{rule} has no message"));
                found.insert(message.to_owned());
            }
            members.values().for_each(|member| messages(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| messages(item, found)),
        _ => {}
    }
}

fn object(spec: &Value) -> Value {
    json!({"apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache", "metadata": {"name": "a"}, "spec": spec})
}

/// A spec with a source and the given fields.
fn with(more: &Value) -> Value {
    let mut spec = json!({"source": {"huggingFace": {"repo": "org/name", "revision": "main"}}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn source(repo: &str) -> Value {
    json!({"source": {"huggingFace": {"repo": repo, "revision": "main"}}})
}

fn storage(storage: &Value) -> Value {
    with(&json!({ "storage": storage }))
}

/// Messages of the rules that reject this spec, or this change of a spec.
fn rejections(new: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema(), &object(new), old.map(object).as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
    }
}

/// Rejected specs: the start of the message, the spec and, for a change, the spec before.
type Rejected = Vec<(&'static str, Value, Option<Value>)>;

fn rejected_sources() -> Rejected {
    vec![
        ("set exactly one source", json!({"source": {}}), None),
        (
            "set exactly one source",
            json!({"source": {
                "ollama": {"model": "llama3.2", "tag": "latest"},
                "http": {"url": "https://host/SHA256SUMS"},
            }}),
            None,
        ),
        (
            "the kind of source is immutable",
            json!({"source": {"ollama": {"model": "llama3.2", "tag": "latest"}}}),
            Some(source("org/a")),
        ),
        (
            "source.modelScope.repo is immutable",
            json!({"source": {"modelScope": {"repo": "org/b", "revision": "master"}}}),
            Some(json!({"source": {"modelScope": {"repo": "org/a", "revision": "master"}}})),
        ),
        (
            "source.oci.repository is immutable",
            json!({"source": {"oci": {"repository": "ghcr.io/org/b", "reference": "v1"}}}),
            Some(json!({"source": {"oci": {"repository": "ghcr.io/org/a", "reference": "v1"}}})),
        ),
        (
            "source.ollama.model is immutable",
            json!({"source": {"ollama": {"model": "b", "tag": "latest"}}}),
            Some(json!({"source": {"ollama": {"model": "a", "tag": "latest"}}})),
        ),
        (
            "source.s3.bucket is immutable",
            json!({"source": {"s3": {"bucket": "bbb"}}}),
            Some(json!({"source": {"s3": {"bucket": "aaa"}}})),
        ),
        (
            "source.persistentVolumeClaim.claimName is immutable",
            json!({"source": {"persistentVolumeClaim": {"claimName": "b"}}}),
            Some(json!({"source": {"persistentVolumeClaim": {"claimName": "a", "path": "m"}}})),
        ),
        (
            "the kind of source is immutable",
            json!({"source": {"persistentVolumeClaim": {"claimName": "b"}}}),
            Some(source("org/a")),
        ),
        (
            "set exactly one source",
            json!({"source": {
                "ollama": {"model": "llama3.2", "tag": "latest"},
                "persistentVolumeClaim": {"claimName": "a"},
            }}),
            None,
        ),
        (
            "source.http.url must be the URL of a file",
            json!({"source": {"http": {"url": "https://host/model.gguf"}}}),
            None,
        ),
        (
            "source.huggingFace.repo must be name or org/name",
            source("org/a--b"),
            None,
        ),
        (
            "source.huggingFace.repo must be name or org/name",
            source("org/a..b"),
            None,
        ),
        (
            "source.huggingFace.repo must be name or org/name",
            source("org/a.git"),
            None,
        ),
        (
            "source.huggingFace.repo is immutable",
            source("org/b"),
            Some(source("org/a")),
        ),
    ]
}

fn rejected_mirrors() -> Rejected {
    vec![
        (
            "mirrors.endpoint must be left out unless",
            with(&json!({"mirrors": [{"url": "https://a", "endpoint": "https://b"}]})),
            None,
        ),
        (
            "mirrors.endpoint must be left out if the source",
            with(&json!({"mirrors": [{"url": "hf://org/a", "endpoint": "https://b"}]})),
            None,
        ),
        (
            "mirrors.endpoint must be left out if the source",
            with(&json!({"mirrors": [
                {"url": "modelscope://org/a", "endpoint": "https://b"},
                {"url": "modelscope://org/a", "endpoint": "https://c"},
            ]})),
            None,
        ),
    ]
}

fn rejected() -> Rejected {
    let claim = |name: &str| storage(&json!({"existingClaim": {"claimName": name}}));
    let mut rejected = rejected_sources();
    rejected.extend(rejected_mirrors());
    rejected.extend([
        (
            "storage.size must be a positive quantity",
            storage(&json!({"size": "0"})),
            None,
        ),
        (
            "storage.size must be a positive quantity",
            storage(&json!({"size": "-1Gi"})),
            None,
        ),
        (
            "storage.size must be a positive quantity",
            storage(&json!({"size": "2Ei"})),
            None,
        ),
        (
            "storage.size must be a positive quantity",
            storage(&json!({"size": "a lot"})),
            None,
        ),
        (
            "storage.existingClaim is used as it is",
            storage(&json!({"existingClaim": {"claimName": "a"}, "size": "1Gi"})),
            None,
        ),
        (
            "storage.existingClaim is used as it is",
            storage(&json!({"existingClaim": {"claimName": "a"}, "reclaimPolicy": "Delete"})),
            None,
        ),
        ("storage.existingClaim is immutable", claim("b"), Some(claim("a"))),
        ("storage.existingClaim is immutable", with(&json!({})), Some(claim("a"))),
        ("storage.existingClaim is immutable", claim("a"), Some(with(&json!({})))),
        (
            "storage.existingClaim is immutable",
            storage(&json!({"existingClaim": {"claimName": "a", "subPath": "x"}})),
            Some(claim("a")),
        ),
        (
            "storage.storageClassName is immutable",
            storage(&json!({"storageClassName": "fast"})),
            Some(storage(&json!({"storageClassName": "slow"}))),
        ),
        (
            "storage.storageClassName is immutable",
            with(&json!({})),
            Some(storage(&json!({"storageClassName": "slow"}))),
        ),
        (
            "storage.accessModes is immutable",
            storage(&json!({"accessModes": ["ReadWriteMany"]})),
            Some(storage(&json!({}))),
        ),
        (
            "storage.layout HuggingFaceCache is for source.huggingFace",
            json!({"source": {"s3": {"bucket": "aaa"}}, "storage": {"layout": "HuggingFaceCache"}}),
            None,
        ),
        (
            "storage.layout must be Ollama, or left out, for source.ollama",
            json!({"source": {"ollama": {"model": "a", "tag": "b"}}, "storage": {"layout": "Directory"}}),
            None,
        ),
        (
            "storage.layout must be Ollama, or left out, for source.ollama",
            storage(&json!({"layout": "Ollama"})),
            None,
        ),
        (
            "requirements.memory must be a positive quantity",
            with(&json!({"requirements": {"memory": "0"}})),
            None,
        ),
        (
            "fetch.maxBytesPerSecond must be a quantity",
            with(&json!({"fetch": {"maxBytesPerSecond": MIN_RATE_LIMIT_BYTES_PER_SECOND - 1}})),
            None,
        ),
        (
            "fetch.maxBytesPerSecond must be a quantity",
            with(&json!({"fetch": {"maxBytesPerSecond": MAX_RATE_LIMIT_BYTES_PER_SECOND + 1}})),
            None,
        ),
    ]);
    rejected
}

#[test]
fn each_spec_is_rejected_by_exactly_its_rule() {
    for (message, new, old) in rejected() {
        let rejections = rejections(&new, old.as_ref());
        assert_eq!(
            rejections.len(),
            1,
            "{new} after {old:?} should be rejected once: {rejections:?}"
        );
        assert!(
            rejections[0].starts_with(message),
            "{new} is rejected with {rejections:?}"
        );
    }
}

#[test]
fn every_rule_has_a_case() {
    let mut all = BTreeSet::new();
    messages(&schema(), &mut all);
    let covered: BTreeSet<String> = rejected()
        .iter()
        .flat_map(|(_, new, old)| rejections(new, old.as_ref()))
        .collect();
    assert_eq!(covered, all);
}

#[test]
fn valid_specs_and_changes_are_accepted() {
    for (new, old) in [
        (source("gpt2"), None),
        (source("sentence-transformers/all-MiniLM-L6-v2"), None),
        (
            storage(&json!({"size": "40Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"]})),
            None,
        ),
        (
            storage(&json!({"existingClaim": {"claimName": "a", "subPath": "models/b"}})),
            None,
        ),
        (storage(&json!({"layout": "Directory"})), None),
        (
            json!({"source": {"ollama": {"model": "a", "tag": "b"}}, "storage": {"layout": "Ollama"}}),
            None,
        ),
        (
            with(&json!({"mirrors": [
                {"url": "modelscope://org/a@v1", "endpoint": "https://b"},
                {"url": "hf://org/twin"}, {"url": "https://c"},
            ]})),
            None,
        ),
        (with(&json!({"requirements": {"memory": "24Gi"}})), None),
        (
            json!({"source": {"persistentVolumeClaim": {"claimName": "a", "path": "models/llama-3.2"}}}),
            Some(json!({"source": {"persistentVolumeClaim": {"claimName": "a"}}})),
        ),
        (with(&json!({"fetch": {"maxBytesPerSecond": "1Ki"}})), None),
        (
            with(&json!({"fetch": {"maxBytesPerSecond": MIN_RATE_LIMIT_BYTES_PER_SECOND}})),
            None,
        ),
        (
            with(&json!({"fetch": {"maxBytesPerSecond": MAX_RATE_LIMIT_BYTES_PER_SECOND}})),
            None,
        ),
        (with(&json!({"fetch": {"maxBytesPerSecond": 52_428_800}})), None),
        // Integers are quantities too.
        (storage(&json!({"size": 1_073_741_824})), None),
        // Allowed changes.
        (
            storage(&json!({"size": "80Gi"})),
            Some(storage(&json!({"size": "40Gi"}))),
        ),
        (storage(&json!({"reclaimPolicy": "Delete"})), Some(with(&json!({})))),
        (storage(&json!({"layout": "HuggingFaceCache"})), Some(with(&json!({})))),
        (
            json!({"source": {"huggingFace": {"repo": "org/a", "revision": "v2"}}}),
            Some(source("org/a")),
        ),
        (
            with(&json!({"requirements": {"memory": "8Gi"}})),
            Some(with(&json!({}))),
        ),
    ] {
        assert_eq!(rejections(&new, old.as_ref()), [] as [String; 0], "{new} after {old:?}");
    }
}

#[test]
fn every_message_says_what_to_write_instead() {
    let mut all = BTreeSet::new();
    messages(&schema(), &mut all);
    for message in all {
        assert!(
            ["create another", "leave out", "must be", "set exactly"]
                .iter()
                .any(|instruction| message.contains(instruction)),
            "{message}"
        );
        let is_lower_case = message.starts_with(|first: char| first.is_lowercase());
        assert!(is_lower_case && !message.ends_with('.'), "{message}");
    }
}
