//! The program with `--mirror`: which origin is asked for what, with which credentials, and which mirrors are skipped.

use std::process::Output;

use tokio::process::Command;

use crate::scripted::{ScriptedServer, answer, json};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

async fn fetch(source: &str, folder: &std::path::Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"));
    command.args(["fetch", source]).arg(folder).args(options);
    command.env("HF_TOKEN", "secret").env_remove("HF_ENDPOINT");
    // The weights here are three bytes.
    command.env("MODELCACHE_FORMAT_CHECK", "warn");
    command.output().await.unwrap()
}

/// A hub that lists one model of one file; it returns 404 for the file if `bytes` is `None`.
async fn hub(bytes: Option<&[u8]>) -> ScriptedServer {
    let hub = ScriptedServer::start().await;
    for revision in ["main", COMMIT] {
        let revision = format!("GET /api/models/org/name/revision/{revision}");
        hub.on(&revision, [json(&format!(r#"{{"id":"org/name","sha":"{COMMIT}"}}"#))]);
    }
    let file = format!(
        r#"[{{"type":"file","oid":"{COMMIT}","size":3,"path":"m.gguf","lfs":{{"oid":"{ABC}","size":3,"pointerSize":1}}}}]"#
    );
    let tree = format!("GET /api/models/org/name/tree/{COMMIT}?recursive=true&expand=false");
    hub.on(&tree, [json(&file)]);
    for method in ["HEAD", "GET"] {
        let line = format!("{method} /org/name/resolve/{COMMIT}/m.gguf");
        hub.on(
            &line,
            [bytes.map_or_else(|| answer(404), |bytes| answer(200).body(bytes))],
        );
    }
    hub
}

#[tokio::test]
async fn a_mirror_is_asked_for_the_same_commit_without_the_token() {
    let (hub, mirror) = (hub(None).await, hub(Some(b"abc")).await);
    let folder = tempfile::tempdir().unwrap();
    let options = ["--endpoint", &hub.url, "--mirror", &mirror.url];
    let output = fetch("hf://org/name", folder.path(), &options).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(folder.path().join("current/m.gguf")).unwrap(), b"abc");
    assert!(hub.requests().iter().all(|request| request.authorization.is_some()));
    assert!(mirror.requests().iter().all(|request| request.authorization.is_none()));
    assert_eq!(mirror.count("GET /api/models/org/name/revision/main"), 0);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains(&format!("3 B from {}", mirror.url)), "{stdout}");
}

#[tokio::test]
async fn a_source_that_sends_wrong_bytes_is_named_and_a_mirror_replaces_it() {
    let (hub, mirror) = (hub(Some(b"xyz")).await, ScriptedServer::start().await);
    let list = format!("{ABC}  m.gguf\n");
    mirror.on("GET /SHA256SUMS", [answer(200).body(list.as_bytes())]);
    for method in ["HEAD", "GET"] {
        mirror.on(&format!("{method} /m.gguf"), [answer(200).body(b"abc")]);
    }
    let folder = tempfile::tempdir().unwrap();
    let mirror = format!("{}/SHA256SUMS", mirror.url);
    let options = ["--endpoint", &hub.url, "--mirror", &mirror, "--connections", "1"];
    let output = fetch("hf://org/name", folder.path(), &options).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(folder.path().join("current/m.gguf")).unwrap(), b"abc");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("which was dropped: sent wrong bytes of m.gguf"),
        "{stdout}"
    );
}

#[tokio::test]
async fn mirrors_that_fail_or_have_other_files_are_skipped() {
    let (hub, other) = (hub(Some(b"abc")).await, ScriptedServer::start().await);
    other.on(
        "GET /SHA256SUMS",
        [answer(200).body(format!("{COMMIT:0>64}  m.gguf\n").as_bytes())],
    );
    other.on("HEAD /m.gguf", [answer(200).body(b"xyz")]);
    let folder = tempfile::tempdir().unwrap();
    let other = format!("{}/SHA256SUMS", other.url);
    let options = [
        "--endpoint",
        &hub.url,
        "--mirror",
        "http://127.0.0.1:1",
        "--mirror",
        &other,
        "--json",
    ];
    let output = fetch("hf://org/name", folder.path(), &options).await;
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("skipping mirror: listing failed")
            && log.contains("skipping mirror: it lists none of the selected files"),
        "{log}"
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let origins = report["origins"].as_array().unwrap();
    let bytes_and_drops: Vec<_> = origins
        .iter()
        .map(|origin| (origin["bytes"].as_i64().unwrap(), origin["dropped"].as_str()))
        .collect();
    assert_eq!(bytes_and_drops, [(3, None), (0, Some("LeftOut")), (0, Some("LeftOut"))]);
}
