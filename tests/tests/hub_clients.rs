//! The official client of the Hugging Face Hub, `hf`, downloads from the hub of the tests: so that hub is one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use modelcache_tests::hub::{Access, Hub, HubConfig};

const VERSION: &str = "2.4.0";
const MODEL: &str = "org/model";

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// A Python that has the client in a known version, installed once per machine into the project's cache.
fn python() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("MODELCACHE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("modelcache")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/modelcache")))
        .unwrap();
    let environment = cache.join(format!("tools/huggingface-hub-{VERSION}"));
    let program = environment.join("bin/python3");
    if !program.exists() {
        let staged = cache.join(format!("tools/.huggingface-hub-{}", std::process::id()));
        let (made, said) = run(Command::new("python3").args(["-m", "venv"]).arg(&staged));
        assert!(made, "{said}");
        let package = format!("huggingface_hub=={VERSION}");
        let pip = staged.join("bin/python3");
        let (installed, said) = run(Command::new(pip).args(["-m", "pip", "install", "--quiet", &package]));
        assert!(installed, "{said}");
        // Another run may have been quicker.
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
        let mut command = Command::new(python());
        command
            // Not the script `hf`, which holds the path it was installed at.
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
async fn the_official_client_downloads_every_file_and_finds_nothing_to_do_the_second_time() {
    let downloads = Downloads::new().await;
    let (done, said) = downloads.download(&[]).await;
    assert!(done, "{said}");
    let read = |name: &str| std::fs::read(downloads.path().join("model").join(name)).unwrap();
    assert_eq!(read("config.json"), b"{}");
    assert_eq!(read("model.safetensors"), vec![7; 3 << 20]);
    assert_eq!(read("sub/folder/a b.txt"), b"text");
    let sent = downloads.hub.stats().bytes_sent;
    assert_eq!(sent, (3 << 20) + 2 + 4);
    let (done, said) = downloads.download(&[]).await;
    assert!(done, "{said}");
    assert_eq!(downloads.hub.stats().bytes_sent, sent);
    assert_eq!(downloads.hub.stats().credentials_at_cdn, 0);
}

#[tokio::test]
async fn the_official_client_understands_refusals_and_tokens() {
    let downloads = Downloads::new().await;
    let (done, said) = downloads.download(&["--revision", "none"]).await;
    assert!(!done && said.contains("Revision not found"), "{said}");
    downloads.hub.set_access(MODEL, Access::Private).unwrap();
    downloads.hub.grant("hf_friend", &[MODEL]);
    let (done, said) = downloads.download(&[]).await;
    assert!(!done && said.contains("not found"), "{said}");
    let (done, said) = downloads.download(&["--token", "hf_friend"]).await;
    assert!(done, "{said}");
    assert_eq!(downloads.hub.stats().credentials_at_cdn, 0);
}
