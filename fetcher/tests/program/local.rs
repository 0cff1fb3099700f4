//! Mounted folders as source and as mirror.

use std::fs;
use std::path::Path;
use std::process::Output;

use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::Command;

use crate::scripted::{ScriptedServer, answer};

fn weights(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn address(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

async fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
        .args(arguments)
        // The weights here have no header.
        .env("MODELCACHE_FORMAT_CHECK", "warn")
        .output()
        .await
        .unwrap()
}

async fn report(arguments: &[&str]) -> Value {
    let output = run(arguments).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_folder_is_planned_fetched_and_verified_and_a_copy_of_the_copy_is_the_same_model() {
    let bytes = weights(9 << 20);
    let source = folder(&[
        ("sub/model.safetensors", &bytes),
        ("config.json", b"{}"),
        ("empty", b""),
    ]);
    let from = address(source.path());
    let plan = report(&["plan", &from, "--json"]).await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = first.path().to_str().unwrap();
    let expect = format!("--expect-digest={}", plan["digest"].as_str().unwrap());
    let fetched = report(&["fetch", &from, to, &expect, "--json"]).await;
    assert_eq!(
        (&fetched["revision"], &fetched["digest"]),
        (&plan["revision"], &plan["digest"])
    );
    assert!(fs::read(first.path().join("current/sub/model.safetensors")).unwrap() == bytes);
    report(&["verify", to, "--json"]).await;

    let copied = report(&[
        "fetch",
        &address(first.path()),
        second.path().to_str().unwrap(),
        "--json",
    ])
    .await;
    assert_eq!(
        (&copied["revision"], &copied["digest"]),
        (&plan["revision"], &plan["digest"])
    );
    assert!(fs::read(second.path().join("current/sub/model.safetensors")).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_differs_from_its_listed_digest_is_reported() {
    let list = format!("{}  a\n{}  b\n", sha256(b"right"), sha256(b"b"));
    let source = folder(&[("a", b"wrong"), ("b", b"b"), ("SHA256SUMS", list.as_bytes())]);
    let target = tempfile::tempdir().unwrap();
    let output = run(&["fetch", &address(source.path()), target.path().to_str().unwrap()]).await;
    let code = i32::from(FailureClass::DigestMismatch.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!target.path().join("current").exists());
}

#[tokio::test]
async fn a_folder_without_digests_is_hashed_with_a_warning() {
    let source = folder(&[("a", b"1")]);
    let output = run(&["plan", &address(source.path())]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.contains("hashing every file verifies the copy, not the original"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_folder_serves_as_mirror_for_a_failing_server() {
    let bytes = weights(3 << 20);
    let list = format!("{}  m.bin\n", sha256(&bytes));
    let mirror = folder(&[("m.bin", &bytes), ("SHA256SUMS", list.as_bytes())]);
    let server = ScriptedServer::start().await;
    let length = bytes.len().to_string();
    server.on("GET /SHA256SUMS", [answer(200).body(list.as_bytes())]);
    server.on("HEAD /m.bin", [answer(200).header("content-length", &length)]);
    server.on("GET /m.bin", [answer(404)]);
    let target = tempfile::tempdir().unwrap();
    let source = format!("{}/SHA256SUMS", server.url);
    let from = format!("--mirror={}", address(mirror.path()));
    report(&["fetch", &source, target.path().to_str().unwrap(), &from, "--json"]).await;
    assert!(fs::read(target.path().join("current/m.bin")).unwrap() == bytes);
}
