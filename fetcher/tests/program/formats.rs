//! Files that match their listed digests but are not valid weights are not published.

use std::fmt::Write;
use std::path::Path;
use std::process::Output;

use modelcache_crds::report::{Failed, FailureClass, Report};
use pretty_assertions::assert_eq;
use rstest::rstest;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::Command;

use crate::scripted::{ScriptedServer, answer};

/// A server with a model, and a folder to fetch it into.
struct Model {
    server: ScriptedServer,
    folder: TempDir,
}

impl Model {
    async fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let server = ScriptedServer::start().await;
        let mut sums = String::new();
        for (path, bytes) in files {
            writeln!(sums, "{:x}  {path}", Hex(&Sha256::digest(bytes))).unwrap();
            for method in ["HEAD", "GET"] {
                server.on(&format!("{method} /{path}"), [answer(200).body(bytes)]);
            }
        }
        server.on("GET /SHA256SUMS", [answer(200).body(sums.as_bytes())]);
        let folder = tempfile::tempdir().unwrap();
        Self { server, folder }
    }

    async fn run(&self, command: &str, options: &[&str]) -> Output {
        let source = format!("{}/SHA256SUMS", self.server.url);
        let mut program = Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"));
        program.arg(command);
        if command != "verify" {
            program.arg(source);
        }
        if command != "plan" {
            program.arg(self.folder.path().join("models"));
        }
        program
            .args(options)
            .env("MODELCACHE_TERMINATION_LOG", self.folder.path().join("report"))
            .env_remove("MODELCACHE_FORMAT_CHECK");
        program.output().await.unwrap()
    }

    fn failure(&self) -> Failed {
        let text = std::fs::read_to_string(self.folder.path().join("report")).unwrap();
        match Report::from_termination_message(&text) {
            Some(Report::Failed(failed)) => failed,
            report => panic!("{report:?}"),
        }
    }

    /// Whether any file has a final name.
    fn is_published(&self) -> bool {
        let models = self.folder.path().join("models");
        let is_empty = |folder: &Path| std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        models.join("current").exists() || !is_empty(&models.join("revisions"))
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A safetensors file with one tensor of `size` bytes.
fn weights(name: &str, size: usize) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.resize(file.len() + size, 7);
    file
}

fn short(mut file: Vec<u8>) -> Vec<u8> {
    file.truncate(file.len() - 10);
    file
}

const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn index() -> Vec<u8> {
    format!(r#"{{"metadata":{{"total_size":1000}},"weight_map":{{"a":"{ONE}","b":"{TWO}"}}}}"#).into_bytes()
}

#[rstest]
#[case::cut_short(&[("model.safetensors", short(weights("a", 500)))], "model.safetensors", Some(555), "truncated")]
#[case::a_pointer(
    &[("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec())],
    "model.safetensors", Some(0), "a Git LFS pointer")]
#[case::a_web_page(&[("q.gguf", b"<!doctype html>".to_vec())], "q.gguf", Some(0), "does not begin with GGUF")]
#[case::a_shard_is_missing(&[(ONE, weights("a", 500))], TWO, None, "not in the listing")]
#[case::a_shard_is_missing_from_an_index(&[(INDEX, index()), (ONE, weights("a", 500))], TWO, None, "not in the listing")]
#[case::another_shard_in_its_place(
    &[(INDEX, index()), (ONE, weights("a", 500)), (TWO, weights("a", 500))], TWO, None, "it lacks tensors that model.safetensors.index.json names: 1")]
#[tokio::test]
async fn invalid_weights_are_refused_with_file_offset_and_cause(
    #[case] files: &[(&str, Vec<u8>)],
    #[case] file: &str,
    #[case] offset: Option<i64>,
    #[case] cause: &str,
) {
    let model = Model::new(files).await;
    let output = model.run("fetch", &[]).await;
    let failed = model.failure();
    assert_eq!(output.status.code(), Some(41), "{output:?}");
    assert_eq!(failed.class, FailureClass::InvalidFormat);
    assert_eq!((failed.file.as_deref(), failed.offset), (Some(file), offset));
    assert!(failed.message.contains(cause), "{}", failed.message);
    assert!(failed.message.contains("--format-check warn"), "{}", failed.message);
    assert!(!model.is_published());
}

#[tokio::test]
async fn a_listing_that_lacks_a_shard_is_refused_before_any_download() {
    let model = Model::new(&[(ONE, weights("a", 500)), ("config.json", b"{}".to_vec())]).await;
    assert_eq!(model.run("plan", &[]).await.status.code(), Some(41));
    assert_eq!(model.run("fetch", &[]).await.status.code(), Some(41));
    assert_eq!(model.server.count(&format!("GET /{ONE}")), 0);
    // The other files can still be fetched.
    let output = model.run("fetch", &["--include", "*.json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_listing_that_lacks_a_shard_is_refused_even_if_the_patterns_skip_its_index() {
    let model = Model::new(&[(INDEX, index()), (ONE, weights("a", 500))]).await;
    let output = model.run("fetch", &["--include", "*.safetensors"]).await;
    let failed = model.failure();
    assert_eq!(output.status.code(), Some(41), "{output:?}");
    assert_eq!(failed.file.as_deref(), Some(TWO));
    let advice = format!("the patterns skip {INDEX}");
    assert!(failed.message.contains(&advice), "{}", failed.message);
    assert!(!model.is_published());
}

#[tokio::test]
async fn a_shard_that_the_patterns_skip_is_not_an_error() {
    let model = Model::new(&[(INDEX, index()), (ONE, weights("a", 500)), (TWO, weights("b", 500))]).await;
    let output = model.run("fetch", &["--exclude", TWO]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the patterns skip it"), "{stderr}");
    let output = model.run("verify", &[]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn format_check_warn_publishes_invalid_weights_and_verify_still_reports_them() {
    let model = Model::new(&[("model.safetensors", short(weights("a", 500)))]).await;
    assert_eq!(model.run("fetch", &[]).await.status.code(), Some(41));
    let output = model.run("fetch", &["--format-check", "warn"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("ignoring invalid weights: the format check only warns") && stderr.contains("it is truncated"),
        "{stderr}"
    );
    assert_eq!(
        model.server.count("GET /model.safetensors"),
        1,
        "the file is already on disk"
    );

    let output = model.run("verify", &[]).await;
    assert_eq!(output.status.code(), Some(41));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("invalid  revisions/"), "{printed}");
    assert_eq!(
        model.run("verify", &["--format-check", "warn"]).await.status.code(),
        Some(0)
    );
    // The check also applies to a revision that is already published.
    assert_eq!(model.run("fetch", &[]).await.status.code(), Some(41));
}
