//! The real olah, a mirror of the Hugging Face Hub that nobody here wrote, between the fetcher's program and the hub of
//! the tests: cold and warm, alone and beside the hub, and with what it gets wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use modelcache_crds::report::FailureClass;
use modelcache_tests::hub::{Fault, Hub, HubConfig, Rule, Stage};
use modelcache_tests::program::fetcher;
use pretty_assertions::assert_eq;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const MODEL: &str = "org/model";
const WEIGHTS: &str = "model.safetensors";
/// Several pieces, and more than one of olah's blocks.
const SIZE: usize = 20 << 20;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let weights = (0..SIZE).map(|at| u8::try_from((at * at / 7 + at / 1021) % 251).unwrap());
    vec![
        ("config.json", b"{\"hidden_size\": 7}".to_vec()),
        (WEIGHTS, weights.collect()),
        ("sub/empty.txt", Vec::new()),
        ("sub/tokenizer.json", b"{}".to_vec()),
    ]
}

/// A mirror with a cache of its own, that ends with the test.
struct Olah {
    url: String,
    _process: Child,
    _folder: TempDir,
}

impl Olah {
    async fn before(hub: &Hub) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let folder = tempfile::tempdir().unwrap();
        let (hub, here) = (hub.address().to_string(), format!("127.0.0.1:{port}"));
        let process = Command::new("olah-cli")
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--hf-scheme", "http", "--hf-netloc", &hub, "--hf-lfs-netloc", &hub])
            .args([
                "--mirror-scheme",
                "http",
                "--mirror-netloc",
                &here,
                "--mirror-lfs-netloc",
                &here,
            ])
            .arg("--repos-path")
            .arg(folder.path().join("repos"))
            .arg("--log-path")
            .arg(folder.path().join("logs"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("olah-cli: {error}: eval \"$(tests/tools)\" installs it"));
        let olah = Self {
            url: format!("http://{here}"),
            _process: process,
            _folder: folder,
        };
        for _ in 0..1200 {
            if reqwest::get(&olah.url).await.is_ok() {
                return olah;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("olah does not start");
    }
}

struct Trial {
    hub: Hub,
    olah: Olah,
}

impl Trial {
    async fn new() -> Self {
        let hub = Hub::start(HubConfig {
            xet_headers: true,
            ..HubConfig::default()
        })
        .await
        .unwrap();
        hub.commit_bytes(MODEL, "main", files()).await.unwrap();
        let olah = Olah::before(&hub).await;
        Self { hub, olah }
    }

    async fn fetch(&self, folder: &Path, endpoint: &str, options: &[&str]) -> Output {
        Command::new(fetcher().unwrap())
            .args(["fetch", MODEL, "--endpoint", endpoint])
            .arg(folder)
            .args(options)
            .env_remove("HF_TOKEN")
            // The weights here have no header.
            .env("MODELCACHE_FORMAT_CHECK", "warn")
            .output()
            .await
            .unwrap()
    }
}

fn assert_published(folder: &Path, output: &Output) {
    assert!(output.status.success(), "{output:?}");
    for (name, bytes) in files() {
        assert!(
            std::fs::read(folder.join("current").join(name)).unwrap() == bytes,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_model_is_published_through_a_mirror_that_is_cold_and_one_that_is_warm() {
    let trial = Trial::new().await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = trial.fetch(first.path(), &trial.olah.url, &[]).await;
    assert_published(first.path(), &output);
    trial.hub.reset_stats();
    let output = trial.fetch(second.path(), &trial.olah.url, &[]).await;
    assert_published(second.path(), &output);
    let sent = trial.hub.stats().bytes_sent;
    assert!(sent < SIZE as u64 / 2, "a warm mirror asked the hub for {sent} bytes");
}

#[tokio::test]
async fn a_mirror_beside_the_hub_is_not_told_the_token() {
    let trial = Trial::new().await;
    trial.hub.grant("hf_friend", &[]);
    let (folder, endpoint) = (tempfile::tempdir().unwrap(), trial.hub.endpoint());
    let token = folder.path().join("token");
    std::fs::write(&token, "hf_friend\n").unwrap();
    let options = ["--mirror", &trial.olah.url, "--token-file", token.to_str().unwrap()];
    let output = trial.fetch(&folder.path().join("model"), &endpoint, &options).await;
    assert_published(&folder.path().join("model"), &output);
    let stats = trial.hub.stats();
    // olah hands on the credentials it is given.
    let is_fetcher = |agent: &Option<String>| agent.as_ref().is_some_and(|agent| agent.starts_with("modelcache"));
    let (ours, its): (Vec<_>, Vec<_>) = stats.log.iter().partition(|request| is_fetcher(&request.user_agent));
    assert!(ours.iter().any(|request| request.credentials), "{ours:?}");
    assert!(
        !its.is_empty() && its.iter().all(|request| !request.credentials),
        "{its:?}"
    );
    assert_eq!(stats.credentials_at_cdn, 0);
}

#[tokio::test]
async fn damage_that_a_mirror_keeps_is_found_out_and_survived_with_the_hub() {
    let trial = Trial::new().await;
    let flipped = Rule::on(Stage::Cdn, WEIGHTS, Fault::Flip { offset: 9 << 20 });
    trial.hub.fault(flipped);
    let folder = tempfile::tempdir().unwrap();
    let output = trial.fetch(folder.path(), &trial.olah.url, &[]).await;
    let code = i32::from(FailureClass::DigestMismatch.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!folder.path().join("current").exists());
    trial.hub.clear_faults();
    let endpoint = trial.hub.endpoint();
    let output = trial
        .fetch(folder.path(), &endpoint, &["--mirror", &trial.olah.url])
        .await;
    assert_published(folder.path(), &output);
}

/// It hands on where the hub says that the next page is, and answers the first page there.
#[tokio::test]
async fn a_listing_of_which_a_mirror_shows_the_first_page_only_is_not_taken_for_whole() {
    let hub = Hub::start(HubConfig {
        page_size: 2,
        ..HubConfig::default()
    })
    .await
    .unwrap();
    hub.commit_bytes(MODEL, "main", files()).await.unwrap();
    let olah = Olah::before(&hub).await;
    let trial = Trial { hub, olah };
    let folder = tempfile::tempdir().unwrap();
    let output = trial.fetch(folder.path(), &trial.olah.url, &[]).await;
    let code = i32::from(FailureClass::InvalidListing.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("its pages do not end"), "{told}");
}
