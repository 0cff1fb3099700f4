//! The layouts of a published model, selected by the options of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use pretty_assertions::assert_eq;
use rstest::rstest;
use tempfile::TempDir;
use tokio::process::Command;

use crate::scripted::{ScriptedServer, answer, json};

const COMMIT: &str = "b45ef6fec89518d314f546fd6c3025367b721684";

/// `config.json` is `Hello, World!`, and `empty` and `sub/empty` are empty.
const FILES: &str = r#"[
    {"type":"file","oid":"b45ef6fec89518d314f546fd6c3025367b721684","size":13,"path":"config.json"},
    {"type":"file","oid":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391","size":0,"path":"empty"},
    {"type":"directory","oid":"","size":0,"path":"sub"},
    {"type":"file","oid":"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391","size":0,"path":"sub/empty"}
]"#;

struct Scenario {
    hub: ScriptedServer,
    folder: TempDir,
}

impl Scenario {
    /// A hub with one revision, given as in a URL.
    async fn new(revision: &str) -> Self {
        let hub = ScriptedServer::start().await;
        let resolved = json(&format!(r#"{{"sha":"{COMMIT}"}}"#));
        hub.on(&format!("GET /api/models/org/name/revision/{revision}"), [resolved]);
        let tree = format!("GET /api/models/org/name/tree/{COMMIT}?recursive=true&expand=false");
        hub.on(&tree, [json(FILES)]);
        for method in ["HEAD", "GET"] {
            let file = |path: &str| format!("{method} /org/name/resolve/{COMMIT}/{path}");
            hub.on(&file("config.json"), [answer(200).body(b"Hello, World!")]);
            hub.on(&file("empty"), [answer(200)]);
            hub.on(&file("sub/empty"), [answer(200)]);
        }
        let folder = tempfile::tempdir().unwrap();
        Self { hub, folder }
    }

    async fn run(&self, command: &str, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
            .arg(command)
            .args(args)
            .env_clear()
            .env("HF_ENDPOINT", &self.hub.url)
            .output()
            .await
            .unwrap()
    }

    fn root(&self) -> String {
        self.folder.path().join("models").to_str().unwrap().to_owned()
    }

    async fn fetch(&self, source: &str, options: &[&str]) -> Output {
        self.run("fetch", &[&[source, &self.root()], options].concat()).await
    }

    fn model(&self) -> PathBuf {
        Path::new(&self.root()).join("current/models--org--name")
    }
}

fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

#[tokio::test]
async fn a_pull_request_is_published_in_the_hubs_cache_under_its_own_name() {
    let scenario = Scenario::new("refs%2Fpr%2F1").await;
    let options = ["--layout", "hugging-face-cache", "--json"];
    let output = scenario.fetch("org/name@refs/pr/1", &options).await;
    assert!(output.status.success(), "{}", printed(&output));
    let snapshot = scenario.model().join("snapshots").join(COMMIT);
    assert_eq!(
        fs::read_to_string(snapshot.join("config.json")).unwrap(),
        "Hello, World!"
    );
    assert_eq!(fs::read_to_string(snapshot.join("sub/empty")).unwrap(), "");
    assert_eq!(
        fs::read_to_string(scenario.model().join("refs/refs/pr/1")).unwrap(),
        COMMIT
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["path"], &report["files"]), (&"current".into(), &3.into()));
    // Manifest and digest are those of the listing in every layout.
    let output = scenario.fetch("org/name@refs/pr/1", &["--json"]).await;
    let plain: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plain["digest"], report["digest"]);
    assert_eq!(plain["bytesFetched"], 0);
}

#[tokio::test]
async fn a_commit_is_published_in_the_hubs_cache_under_the_given_name() {
    let scenario = Scenario::new(COMMIT).await;
    let source = format!("org/name@{COMMIT}");
    let output = scenario.fetch(&source, &["--layout", "hugging-face-cache"]).await;
    assert!(output.status.success(), "{}", printed(&output));
    assert!(!scenario.model().join("refs").exists(), "a commit needs no ref");
    let options = ["--layout", "hugging-face-cache", "--ref", "main"];
    let output = scenario.fetch(&source, &options).await;
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(fs::read_to_string(scenario.model().join("refs/main")).unwrap(), COMMIT);
}

#[tokio::test]
async fn verify_names_damage_in_the_hubs_cache_and_a_fetch_repairs_it() {
    let scenario = Scenario::new("main").await;
    let options = ["--layout", "hugging-face-cache"];
    assert!(scenario.fetch("org/name", &options).await.status.success());
    let folder = scenario.root();
    let verify = async || scenario.run("verify", &[&folder]).await;
    assert!(verify().await.status.success());

    let link = scenario.model().join("snapshots").join(COMMIT).join("sub/empty");
    fs::remove_file(&link).unwrap();
    let blob = scenario.model().join("blobs").join(COMMIT);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "Hello, world!").unwrap();
    let output = verify().await;
    assert_eq!(output.status.code(), Some(40));
    let message = printed(&output);
    let both = [
        format!("blobs/{COMMIT} (config.json): hashes to"),
        format!("snapshots/{COMMIT}/sub/empty: is not a link to ../../../blobs/"),
    ];
    assert!(both.iter().all(|line| message.contains(line)), "{message}");
    assert!(message.contains("2 of 7 published files are damaged"), "{message}");

    assert!(scenario.fetch("org/name", &options).await.status.success());
    assert!(verify().await.status.success());
}

#[rstest]
#[case::cache_of_a_list("https://localhost/SHA256SUMS", &["--layout", "hugging-face-cache"], "needs a model of the hub")]
#[case::ollama_of_the_hub("org/name", &["--layout", "ollama"], "needs a model of Ollama's registry")]
#[case::name_without_cache("org/name", &["--ref", "main"], "--ref is for the layout")]
#[tokio::test]
async fn incompatible_options_are_reported_before_any_request(
    #[case] source: &str,
    #[case] options: &[&str],
    #[case] expected: &str,
) {
    let scenario = Scenario::new("main").await;
    let output = scenario.fetch(source, options).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains(expected), "{}", printed(&output));
    assert_eq!(scenario.hub.requests(), []);
    assert!(!Path::new(&scenario.root()).exists());
}
