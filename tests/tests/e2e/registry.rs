//! An OCI registry that pods can reach: Debian's docker-registry on this machine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::models::sha256;
use crate::world::host_ip;

/// User `reader` with password `secret`.
const HTPASSWD: &str = "reader:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A running registry; dropping it stops it.
pub(crate) struct Registry {
    pub(crate) host: String,
    is_closed: bool,
    client: reqwest::Client,
    _process: Child,
    _folder: TempDir,
}

impl Registry {
    pub(crate) async fn start(is_closed: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind((host_ip(), 0))?.local_addr()?.port();
        let host = format!("{}:{port}", host_ip());
        let passwords = folder.path().join("htpasswd");
        std::fs::write(&passwords, HTPASSWD)?;
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("data")}},
            "http": {"addr": host},
        });
        if is_closed {
            config["auth"] = json!({"htpasswd": {"realm": "models", "path": passwords}});
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config.to_string())?;
        let process = Command::new("docker-registry")
            .args(["serve".as_ref(), file.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("docker-registry is missing: eval \"$(tests/tools)\" installs it")?;
        let client = reqwest::Client::new();
        for _ in 0..200 {
            if client.get(format!("http://{host}/v2/")).send().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            host,
            is_closed,
            client,
            _process: process,
            _folder: folder,
        })
    }

    /// Content of an image pull Secret for this registry.
    pub(crate) fn docker_config(&self) -> String {
        json!({"auths": {&self.host: {"username": "reader", "password": "secret"}}}).to_string()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let request = if self.is_closed {
            request.basic_auth("reader", Some("secret"))
        } else {
            request
        };
        Ok(request.send().await?.error_for_status()?)
    }

    /// Uploads a blob and returns its descriptor.
    pub(crate) async fn blob(
        &self,
        repository: &str,
        media_type: &str,
        bytes: &[u8],
        annotations: Value,
    ) -> anyhow::Result<Value> {
        let uploads = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let begun = self.send(self.client.post(uploads)).await?;
        let upload = begun.headers()["location"].to_str()?.to_owned();
        let digest = format!("sha256:{}", sha256(bytes));
        let separator = if upload.contains('?') { '&' } else { '?' };
        let put = self.client.put(format!("{upload}{separator}digest={digest}"));
        self.send(put.body(bytes.to_vec())).await?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "annotations": annotations}))
    }

    /// Uploads a manifest and returns its digest.
    pub(crate) async fn manifest(&self, repository: &str, tag: &str, manifest: &Value) -> anyhow::Result<String> {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let text = manifest.to_string();
        let media_type = manifest["mediaType"].as_str().context("no media type")?.to_owned();
        let put = self.client.put(url).header("content-type", media_type);
        let answer = self.send(put.body(text.clone())).await?;
        let digest = format!("sha256:{}", sha256(text.as_bytes()));
        ensure!(answer.headers()["docker-content-digest"].to_str()? == digest);
        Ok(digest)
    }
}
