//! Compares the defaults and ranges that field docs name with the constants that the fetcher and the operator use.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

use modelcache_crds::fetch_defaults::{
    DEFAULT_CONNECTIONS, DEFAULT_CPU_REQUEST, DEFAULT_MEMORY_LIMIT, DEFAULT_MEMORY_REQUEST, DEFAULT_PARALLEL_FILES,
    DEFAULT_PARALLEL_SMALL_FILES, DEFAULT_STALL_TIMEOUT_SECS, INITIAL_CONNECTIONS, MAX_CONNECTIONS, MAX_MIRRORS,
    MAX_PARALLEL_FILES, MAX_STALL_TIMEOUT_SECS, MIN_CONNECTIONS, MIN_PARALLEL_FILES, MIN_RATE_LIMIT_BYTES_PER_SECOND,
    MIN_STALL_TIMEOUT_SECS, SMALL_FILE_MAX_BYTES,
};
use modelcache_crds::model_cache::custom_resource_definition;
use modelcache_crds::quantity;
use modelcache_crds::report::MAX_ORIGINS;
use modelcache_crds::source_defaults::{
    DEFAULT_HUGGING_FACE_ENDPOINT, DEFAULT_HUGGING_FACE_REVISION, DEFAULT_MODEL_SCOPE_ENDPOINT,
    DEFAULT_MODEL_SCOPE_REVISION, DEFAULT_S3_REGION, DEFAULT_TAG, DEFAULT_TOKEN_KEY,
};
use serde_json::Value;

/// The description of the field at a path such as `spec.fetch.connections`.
fn field_doc(schema: &Value, path: &str) -> String {
    let field = path.split('.').fold(schema, |schema, name| &schema["properties"][name]);
    field["description"].as_str().unwrap().replace('\n', " ")
}

#[test]
fn documented_defaults_and_ranges_are_the_constants() {
    let definition = custom_resource_definition();
    let version = serde_json::to_value(&definition.spec.versions[0]).unwrap();
    let schema = &version["schema"]["openAPIV3Schema"];
    let small_file = quantity::human_bytes(i64::try_from(SMALL_FILE_MAX_BYTES).unwrap()).replace(".00", "");
    let min_rate_limit = quantity::from_bytes(MIN_RATE_LIMIT_BYTES_PER_SECOND);
    let sources = [
        ("huggingFace.revision", DEFAULT_HUGGING_FACE_REVISION),
        ("huggingFace.endpoint", DEFAULT_HUGGING_FACE_ENDPOINT),
        ("huggingFace.tokenSecretRef.key", DEFAULT_TOKEN_KEY),
        ("modelScope.revision", DEFAULT_MODEL_SCOPE_REVISION),
        ("modelScope.endpoint", DEFAULT_MODEL_SCOPE_ENDPOINT),
        ("oci.reference", DEFAULT_TAG),
        ("ollama.tag", DEFAULT_TAG),
        ("s3.region", DEFAULT_S3_REGION),
    ];
    for (path, default) in sources {
        let (path, phrase) = (format!("spec.source.{path}"), format!("Defaults to `{default}`."));
        let doc = field_doc(schema, &path);
        assert!(doc.contains(&phrase), "the doc of {path} lacks {phrase:?}: {doc}");
    }
    for (path, phrase) in [
        ("spec.fetch.connections", format!("Defaults to {DEFAULT_CONNECTIONS}.")),
        ("spec.fetch.connections", format!("starts with {INITIAL_CONNECTIONS}")),
        (
            "spec.fetch.connections",
            format!("in the range {MIN_CONNECTIONS} to {MAX_CONNECTIONS}."),
        ),
        (
            "spec.fetch.parallelFiles",
            format!("in the range {MIN_PARALLEL_FILES} to {MAX_PARALLEL_FILES}."),
        ),
        ("spec.fetch.parallelFiles", format!("{DEFAULT_PARALLEL_FILES} files")),
        (
            "spec.fetch.parallelFiles",
            format!("{DEFAULT_PARALLEL_SMALL_FILES} more files of up to {small_file}"),
        ),
        (
            "spec.fetch.stallTimeoutSeconds",
            format!("Defaults to {DEFAULT_STALL_TIMEOUT_SECS}."),
        ),
        (
            "spec.fetch.stallTimeoutSeconds",
            format!("in the range {MIN_STALL_TIMEOUT_SECS} to {MAX_STALL_TIMEOUT_SECS},"),
        ),
        (
            "spec.fetch.maxBytesPerSecond",
            format!("At least `{}`.", min_rate_limit.0),
        ),
        (
            "spec.fetch.resources",
            format!("{DEFAULT_CPU_REQUEST} CPU and {DEFAULT_MEMORY_REQUEST} memory"),
        ),
        ("spec.fetch.resources", format!("limit of {DEFAULT_MEMORY_LIMIT}")),
        ("spec.mirrors", format!("At most {MAX_MIRRORS}.")),
        ("status.sources", format!("At most {MAX_ORIGINS}.")),
    ] {
        let doc = field_doc(schema, path);
        assert!(doc.contains(&phrase), "the doc of {path} lacks {phrase:?}: {doc}");
    }
}
