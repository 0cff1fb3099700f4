//! Checks the test hub against the official clients of the Hugging Face Hub and of ModelScope, which download from it.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use modelcache_tests::hub::{Access, Hub, HubConfig, RequestStats};

const HUGGINGFACE_HUB: (&str, &str) = ("huggingface_hub", "2.4.0");
const MODELSCOPE: (&str, &str) = ("modelscope", "1.40.2");
const MODEL: &str = "org/model";

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// A Python with the pinned version of a client, installed once per machine into the project's cache.
fn python((package, version): (&str, &str)) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("MODELCACHE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("modelcache")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/modelcache")))
        .unwrap();
    let name = package.replace('_', "-");
    let environment = cache.join(format!("tools/{name}-{version}"));
    let program = environment.join("bin/python3");
    if !program.exists() {
        let staged = cache.join(format!("tools/.{name}-{}", std::process::id()));
        let (made, output) = run(Command::new("python3").args(["-m", "venv"]).arg(&staged));
        assert!(made, "{output}");
        let wanted = format!("{package}=={version}");
        let pip = staged.join("bin/python3");
        let (installed, output) = run(Command::new(pip).args(["-m", "pip", "install", "--quiet", &wanted]));
        assert!(installed, "{output}");
        // Fails if another run was faster.
        let _ = std::fs::rename(&staged, &environment);
    }
    program
}

struct Downloads {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Downloads {
    async fn new() -> Self {
        let hub = Hub::start(HubConfig {
            page_size: 2,
            ..HubConfig::default()
        })
        .await
        .unwrap();
        let files = [
            ("config.json", b"{}".to_vec()),
            ("model.safetensors", vec![7; 3 << 20]),
            ("sub/folder/a b.txt", b"text".to_vec()),
        ];
        hub.commit_bytes(MODEL, "main", files).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { hub, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn download(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(python(HUGGINGFACE_HUB));
        command
            // Not the script `hf`, because it contains the path where it was installed.
            .args(["-m", "huggingface_hub.cli.hf", "download", MODEL, "--local-dir"])
            .arg(self.path().join("model"))
            .args(arguments)
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", self.path().join("home"))
            .env_remove("HF_TOKEN");
        tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
    }
}

#[tokio::test]
async fn the_official_client_downloads_every_file_and_nothing_the_second_time() {
    let downloads = Downloads::new().await;
    let (done, output) = downloads.download(&[]).await;
    assert!(done, "{output}");
    let read = |name: &str| std::fs::read(downloads.path().join("model").join(name)).unwrap();
    assert_eq!(read("config.json"), b"{}");
    assert_eq!(read("model.safetensors"), vec![7; 3 << 20]);
    assert_eq!(read("sub/folder/a b.txt"), b"text");
    let sent = downloads.hub.stats().bytes_sent;
    assert_eq!(sent, (3 << 20) + 2 + 4);
    let (done, output) = downloads.download(&[]).await;
    assert!(done, "{output}");
    assert_eq!(downloads.hub.stats().bytes_sent, sent);
    assert_eq!(downloads.hub.stats().credentials_at_cdn, 0);
}

#[tokio::test]
async fn the_official_client_understands_refusals_and_tokens() {
    let downloads = Downloads::new().await;
    let (done, output) = downloads.download(&["--revision", "none"]).await;
    assert!(!done && output.contains("Revision not found"), "{output}");
    downloads.hub.set_access(MODEL, Access::Private).unwrap();
    downloads.hub.grant("hf_friend", &[MODEL]);
    let (done, output) = downloads.download(&[]).await;
    assert!(!done && output.contains("not found"), "{output}");
    let (done, output) = downloads.download(&["--token", "hf_friend"]).await;
    assert!(done, "{output}");
    assert_eq!(downloads.hub.stats().credentials_at_cdn, 0);
}

/// Downloads into a folder with ModelScope's client. Returns whether it succeeded, and its output.
async fn download_from_model_scope(hub: &Hub, folder: &Path, token: Option<&str>) -> (bool, String) {
    let mut command = Command::new(python(MODELSCOPE));
    command
        .args(["-m", "modelscope_hub.cli.main", "download", MODEL, "--local-dir"])
        .arg(folder.join("model"))
        .env("MODELSCOPE_ENDPOINT", hub.endpoint())
        .env("MODELSCOPE_CACHE", folder.join("cache"))
        .env("HOME", folder)
        .env("MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS", "4")
        .env("MODELSCOPE_DOWNLOAD_PARALLEL_THRESHOLD_MB", "1")
        .env("MODELSCOPE_DOWNLOAD_PART_SIZE_MB", "1")
        .env("MODELSCOPE_API_TOKEN", token.unwrap_or_default());
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

#[tokio::test]
async fn the_client_of_modelscope_downloads_every_file_from_the_same_hub() {
    let hub = Hub::start(HubConfig::default()).await.unwrap();
    let files = [
        ("config.json", b"{}".to_vec()),
        ("model.safetensors", vec![7; 3 << 20]),
        ("sub/folder/a b.txt", b"text".to_vec()),
    ];
    hub.commit_bytes(MODEL, "master", files.clone()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (done, output) = download_from_model_scope(&hub, folder.path(), None).await;
    assert!(done, "{output}");
    for (name, bytes) in files {
        assert!(
            std::fs::read(folder.path().join("model").join(name)).unwrap() == bytes,
            "{name}"
        );
    }
    // The client requests ranges and gets them with status 200.
    let parts = |request: &&RequestStats| request.range.is_some() && request.status == 200;
    assert!(
        hub.stats().log.iter().filter(parts).count() > 1,
        "{:?}",
        hub.stats().log
    );
}

#[tokio::test]
async fn the_client_of_modelscope_needs_its_token() {
    let hub = Hub::start(HubConfig::default()).await.unwrap();
    let files = [("model.safetensors", vec![7; 1 << 20])];
    hub.commit_bytes(MODEL, "master", files).await.unwrap();
    hub.set_access(MODEL, Access::Private).unwrap();
    hub.grant("ms-friend", &[MODEL]);
    let folder = tempfile::tempdir().unwrap();
    let (done, output) = download_from_model_scope(&hub, folder.path(), None).await;
    assert!(!done, "{output}");
    let (done, output) = download_from_model_scope(&hub, folder.path(), Some("ms-friend")).await;
    assert!(done, "{output}");
}
