//! Artifacts with archive layers, packed by the `tar` of the system and served by a real registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::registry::{MANIFEST, Registry, run, weights};

const CONFIG_OF_KITOPS: &str = "application/vnd.kitops.modelkit.config.v1+json";

/// The source folder of a model, with links, an empty file, and paths that are too long for a plain tar header.
fn model(bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let deep = format!("model/{}/{}", "folder".repeat(20), "name".repeat(30));
    for (path, content) in [
        ("model/model.safetensors", bytes),
        ("model/empty", b""),
        (deep.as_str(), b"deep"),
        ("docs/README.md", b"# Model"),
    ] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), content).unwrap();
    }
    symlink("model.safetensors", at("model/link")).unwrap();
    fs::hard_link(at("docs/README.md"), at("docs/TWIN.md")).unwrap();
    folder
}

/// The folder `name`, packed by `tar` with the options.
async fn packed(folder: &Path, name: &str, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(options)
        .args(["-c", "-f", "-", "-C"])
        .arg(folder)
        .arg(name)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Pushes a kit with one layer for each media type and archive; returns the digest of its manifest.
async fn push(registry: &Registry, tag: &str, config: &str, layers: &[(&str, Vec<u8>)]) -> String {
    let config = registry.blob("org/kit", config, b"{}", json!({})).await;
    let mut descriptors = Vec::new();
    for (media_type, bytes) in layers {
        descriptors.push(registry.blob("org/kit", media_type, bytes, json!({})).await);
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors,
    });
    registry.manifest("org/kit", tag, MANIFEST, &manifest).await
}

async fn report(arguments: &[&str], folder: &Path) -> Value {
    let output = run(arguments, folder, "").await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn refused(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = run(arguments, folder, "").await;
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[rstest]
#[case::kitops(CONFIG_OF_KITOPS, "application/vnd.kitops.modelkit.$KIND.v1.tar+gzip", &["--format=pax", "-z"])]
#[case::kitops_not_compressed(CONFIG_OF_KITOPS, "application/vnd.kitops.modelkit.$KIND.v1.tar", &["--format=gnu"])]
#[case::model_pack(
    "application/vnd.cncf.model.config.v1+json",
    "application/vnd.cncf.model.$KIND.v1.tar",
    &["--format=pax"]
)]
#[case::model_pack_gzip(
    "application/vnd.cncf.model.config.v1+json",
    "application/vnd.cncf.model.$KIND.v1.tar+gzip",
    &["--format=gnu", "-z"]
)]
#[case::model_pack_zstd(
    "application/vnd.cncf.model.config.v1+json",
    "application/vnd.cncf.model.$KIND.v1.tar+zstd",
    &["--format=gnu", "--zstd"]
)]
#[tokio::test]
async fn an_artifact_of_archives_is_planned_fetched_unpacked_and_verified(
    #[case] config: &str,
    #[case] media_type: &str,
    #[case] options: &[&str],
) {
    let bytes = weights(5 << 20);
    let model = model(&bytes);
    let registry = Registry::start(false).await;
    let types = ["model", "docs"].map(|kind| media_type.replace("$KIND", kind));
    let layers = [
        (types[0].as_str(), packed(model.path(), "model", options).await),
        (types[1].as_str(), packed(model.path(), "docs", options).await),
    ];
    let digest = push(&registry, "v1", config, &layers).await;
    let source = format!("oci+http://{}/org/kit:v1", registry.host);
    let target = tempfile::tempdir().unwrap();
    let output = run(&["plan", "--json", &source, "--include"], Path::new("*"), "").await;
    assert!(output.status.success(), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expect = format!("--expect-digest={}", plan["digest"].as_str().unwrap());
    let fetched = report(&["fetch", &source, "--json", &expect], target.path()).await;
    assert_eq!(
        (&fetched["revision"], &fetched["digest"]),
        (&json!(digest), &plan["digest"])
    );
    assert_eq!(fetched["files"], 6);

    let current = target.path().join("current");
    let compared = Command::new("diff")
        .args(["-r".as_ref(), model.path().as_os_str(), current.as_os_str()])
        .output()
        .await
        .unwrap();
    assert!(compared.status.success(), "{compared:?}");
    assert!(fs::read(current.join("model/link")).unwrap() == bytes);

    let verified = report(&["verify", "--json"], target.path()).await;
    assert_eq!((&verified["files"], &verified["digest"]), (&json!(6), &plan["digest"]));
    let again = report(&["fetch", &source, "--json"], target.path()).await;
    assert_eq!(again["bytesFetched"], 0);
}

#[tokio::test]
async fn a_layer_already_on_disk_is_not_fetched_for_the_next_revision() {
    let registry = Registry::start(false).await;
    let model = model(&weights(3 << 20));
    let model_layer = packed(model.path(), "model", &[]).await;
    let docs = packed(model.path(), "docs", &[]).await;
    let kind = |kind: &str| format!("application/vnd.kitops.modelkit.{kind}.v1.tar");
    let (first, second) = (kind("model"), kind("docs"));
    push(&registry, "v1", CONFIG_OF_KITOPS, &[(&first, model_layer.clone())]).await;
    let length = docs.len();
    push(
        &registry,
        "v2",
        CONFIG_OF_KITOPS,
        &[(&first, model_layer), (&second, docs)],
    )
    .await;
    let target = tempfile::tempdir().unwrap();
    for (tag, fetched) in [("v1", None), ("v2", Some(length))] {
        let source = format!("oci+http://{}/org/kit:{tag}", registry.host);
        let report = report(&["fetch", &source, "--json"], target.path()).await;
        if let Some(fetched) = fetched {
            assert_eq!(report["bytesFetched"], fetched);
        }
    }
    assert!(target.path().join("current/docs/README.md").exists());
    assert!(target.path().join("current/model/model.safetensors").exists());
}

#[tokio::test]
async fn a_damaged_published_file_is_repaired_from_its_layer() {
    let registry = Registry::start(false).await;
    let model = model(&weights(1 << 20));
    let layer = packed(model.path(), "docs", &["-z"]).await;
    let media_type = "application/vnd.kitops.modelkit.docs.v1.tar+gzip";
    push(&registry, "v1", CONFIG_OF_KITOPS, &[(media_type, layer)]).await;
    let source = format!("oci+http://{}/org/kit:v1", registry.host);
    let target = tempfile::tempdir().unwrap();
    report(&["fetch", &source, "--json"], target.path()).await;
    let file = target.path().join("current/docs/README.md");
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"# Other").unwrap();
    let (code, _) = refused(&["verify"], target.path()).await;
    assert_eq!(code, Some(i32::from(FailureClass::DigestMismatch.exit_code())));
    report(&["fetch", &source, "--json"], target.path()).await;
    assert_eq!(fs::read(&file).unwrap(), b"# Model");
    report(&["verify", "--json"], target.path()).await;
}

#[tokio::test]
async fn an_archive_entry_outside_the_folder_is_reported_and_nothing_is_published() {
    let registry = Registry::start(false).await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    fs::write(folder.path().join("outside"), b"1").unwrap();
    let layer = packed(&folder.path().join("inner"), "../outside", &["-P"]).await;
    let media_type = "application/vnd.kitops.modelkit.model.v1.tar";
    push(&registry, "v1", CONFIG_OF_KITOPS, &[(media_type, layer)]).await;
    let source = format!("oci+http://{}/org/kit:v1", registry.host);
    let target = tempfile::tempdir().unwrap();
    let (code, stderr) = refused(&["fetch", &source], target.path()).await;
    assert_eq!(
        code,
        Some(i32::from(FailureClass::InvalidListing.exit_code())),
        "{stderr}"
    );
    assert!(
        stderr.contains("entry \"../outside\"") && stderr.contains("must not be written"),
        "{stderr}"
    );
    assert!(!target.path().join("current").exists());
    assert!(!target.path().join(".modelcache/outside").exists());
}
