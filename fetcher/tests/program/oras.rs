//! Artifacts in a real registry, pushed by the real ORAS.

use std::path::Path;

use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::Value;
use tokio::process::Command;

use crate::registry::{Registry, run, weights};

/// Pushes files from a folder; returns the digest of the manifest.
async fn push(folder: &Path, name: &str, files: &[&str]) -> String {
    let output = Command::new("oras")
        .args(["push", "--plain-http", "--format", "json", name])
        .args(files)
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .await
        .unwrap_or_else(|error| panic!("oras: {error}: eval \"$(tests/tools)\" installs it"));
    assert!(output.status.success(), "{output:?}");
    let pushed: Value = serde_json::from_slice(&output.stdout).unwrap();
    pushed["digest"].as_str().unwrap().to_owned()
}

#[rstest]
#[case::with_the_media_type_of_a_layer(["model.gguf", "sub/config.json"])]
#[case::with_types_of_their_own(["model.gguf:application/vnd.acme.weights", "sub/config.json:application/json"])]
#[tokio::test]
async fn files_that_oras_pushed_are_published_under_their_names(#[case] files: [&str; 2]) {
    let registry = Registry::start(false).await;
    let (pushed, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = weights(9 << 20);
    std::fs::create_dir(pushed.path().join("sub")).unwrap();
    std::fs::write(pushed.path().join("model.gguf"), &bytes).unwrap();
    std::fs::write(pushed.path().join("sub/config.json"), b"{\"a\": 1}").unwrap();
    let name = format!("{}/org/model:v1", registry.host);
    let digest = push(pushed.path(), &name, &files).await;
    let source = format!("oci+http://{name}");
    let output = run(&["fetch", &source, "--json"], folder.path(), "").await;
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["revision"], Value::String(digest));
    let current = folder.path().join("current");
    assert!(std::fs::read(current.join("model.gguf")).unwrap() == bytes);
    assert_eq!(std::fs::read(current.join("sub/config.json")).unwrap(), b"{\"a\": 1}");
}

#[tokio::test]
async fn a_folder_that_oras_packed_is_unpacked() {
    let registry = Registry::start(false).await;
    let (pushed, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = weights(3 << 20);
    std::fs::create_dir_all(pushed.path().join("model/sub")).unwrap();
    std::fs::write(pushed.path().join("model/model.gguf"), &bytes).unwrap();
    std::fs::write(pushed.path().join("model/sub/config.json"), b"{}").unwrap();
    std::fs::write(pushed.path().join("README.md"), b"# Model").unwrap();
    let name = format!("{}/org/model:v1", registry.host);
    push(pushed.path(), &name, &["model", "README.md"]).await;
    let output = run(&["fetch", &format!("oci+http://{name}"), "--json"], folder.path(), "").await;
    assert!(output.status.success(), "{output:?}");
    let current = folder.path().join("current");
    assert!(std::fs::read(current.join("model/model.gguf")).unwrap() == bytes);
    assert_eq!(std::fs::read(current.join("model/sub/config.json")).unwrap(), b"{}");
    let mut names: Vec<_> = std::fs::read_dir(&current)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["README.md", "model"], "the archive itself is not published");
}
