//! The fetcher's program with olah, a third-party mirror of the Hugging Face Hub, in front of the test hub: cold and
//! warm cache, olah alone and next to the hub, and olah's own bugs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue fails")]

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
/// Several pieces of the fetcher and several blocks of olah.
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

/// A running olah with an empty cache; dropping it stops it.
struct Olah {
    url: String,
    _process: Child,
    _folder: TempDir,
}

impl Olah {
    async fn in_front_of(hub: &Hub) -> Self {
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

struct Scenario {
    hub: Hub,
    olah: Olah,
}

impl Scenario {
    async fn new() -> Self {
        let hub = Hub::start(HubConfig {
            xet_headers: true,
            ..HubConfig::default()
        })
        .await
        .unwrap();
        hub.commit_bytes(MODEL, "main", files()).await.unwrap();
        let olah = Olah::in_front_of(&hub).await;
        Self { hub, olah }
    }

    async fn fetch(&self, folder: &Path, endpoint: &str, options: &[&str]) -> Output {
        Command::new(fetcher().unwrap())
            .args(["fetch", MODEL, "--endpoint", endpoint])
            .arg(folder)
            .args(options)
            .env_remove("HF_TOKEN")
            // These weights have no safetensors header.
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
async fn a_model_is_published_through_a_cold_and_a_warm_mirror() {
    let scenario = Scenario::new().await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = scenario.fetch(first.path(), &scenario.olah.url, &[]).await;
    assert_published(first.path(), &output);
    scenario.hub.reset_stats();
    let output = scenario.fetch(second.path(), &scenario.olah.url, &[]).await;
    assert_published(second.path(), &output);
    let sent = scenario.hub.stats().bytes_sent;
    assert!(
        sent < SIZE as u64 / 2,
        "the warm mirror requested {sent} bytes from the hub"
    );
}

#[tokio::test]
async fn a_mirror_does_not_get_the_token_of_the_hub() {
    let scenario = Scenario::new().await;
    scenario.hub.grant("hf_friend", &[]);
    let (folder, endpoint) = (tempfile::tempdir().unwrap(), scenario.hub.endpoint());
    let token = folder.path().join("token");
    std::fs::write(&token, "hf_friend\n").unwrap();
    let options = ["--mirror", &scenario.olah.url, "--token-file", token.to_str().unwrap()];
    let output = scenario.fetch(&folder.path().join("model"), &endpoint, &options).await;
    assert_published(&folder.path().join("model"), &output);
    let stats = scenario.hub.stats();
    // olah forwards the credentials that it gets.
    let is_fetcher = |agent: &Option<String>| agent.as_ref().is_some_and(|agent| agent.starts_with("modelcache"));
    let (ours, olahs): (Vec<_>, Vec<_>) = stats.log.iter().partition(|request| is_fetcher(&request.user_agent));
    assert!(ours.iter().any(|request| request.credentials), "{ours:?}");
    assert!(
        !olahs.is_empty() && olahs.iter().all(|request| !request.credentials),
        "{olahs:?}"
    );
    assert_eq!(stats.credentials_at_cdn, 0);
}

#[tokio::test]
async fn damage_in_the_cache_of_a_mirror_is_found_and_replaced_from_the_hub() {
    let scenario = Scenario::new().await;
    let flipped = Rule::on(Stage::Cdn, WEIGHTS, Fault::Flip { offset: 9 << 20 });
    scenario.hub.fault(flipped);
    let folder = tempfile::tempdir().unwrap();
    let output = scenario.fetch(folder.path(), &scenario.olah.url, &[]).await;
    let code = i32::from(FailureClass::DigestMismatch.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!folder.path().join("current").exists());
    scenario.hub.clear_faults();
    let endpoint = scenario.hub.endpoint();
    let output = scenario
        .fetch(folder.path(), &endpoint, &["--mirror", &scenario.olah.url])
        .await;
    assert_published(folder.path(), &output);
}

/// olah forwards the hub's link to the next page, but answers that request with the first page.
#[tokio::test]
async fn a_listing_truncated_by_a_mirror_is_refused() {
    let hub = Hub::start(HubConfig {
        page_size: 2,
        ..HubConfig::default()
    })
    .await
    .unwrap();
    hub.commit_bytes(MODEL, "main", files()).await.unwrap();
    let olah = Olah::in_front_of(&hub).await;
    let scenario = Scenario { hub, olah };
    let folder = tempfile::tempdir().unwrap();
    let output = scenario.fetch(folder.path(), &scenario.olah.url, &[]).await;
    let code = i32::from(FailureClass::InvalidListing.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("its pages do not end"), "{stderr}");
}
