//! An S3 bucket that pods can reach: moto on this machine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::world::host_ip;

/// A running moto with one bucket; dropping it stops it.
pub(crate) struct Bucket {
    pub(crate) url: String,
    name: String,
    client: reqwest::Client,
    _process: Child,
    _folder: TempDir,
}

impl Bucket {
    pub(crate) async fn start(name: &str) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind((host_ip(), 0))?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let process = Command::new("moto_server")
            .args(["-H", &host_ip().to_string(), "-p", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("moto_server is missing: eval \"$(tests/tools)\" installs it")?;
        let bucket = Self {
            url: format!("http://{}:{port}", host_ip()),
            name: name.to_owned(),
            client: reqwest::Client::new(),
            _process: process,
            _folder: folder,
        };
        for _ in 0..400 {
            if bucket.client.get(&bucket.url).send().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bucket.put("", b"").await?;
        Ok(bucket)
    }

    /// Uploads an object; with an empty key, creates the bucket.
    pub(crate) async fn put(&self, key: &str, body: &[u8]) -> anyhow::Result<()> {
        let put = self.client.put(format!("{}/{}/{key}", self.url, self.name));
        // moto reads the AWS service from this header; it does not check signatures.
        let scope = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request";
        let answer = put.header("authorization", scope).body(body.to_vec()).send().await?;
        answer.error_for_status()?;
        Ok(())
    }
}
