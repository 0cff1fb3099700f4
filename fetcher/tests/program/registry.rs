//! Artifacts in a real registry, Debian's docker-registry, and the token flow against a scripted one.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::port::free_port;
use crate::scripted::{ScriptedServer, answer, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The user `reader` with the password `secret`.
const HTPASSWD: &str = "reader:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
pub(crate) const READER: &str = "cmVhZGVyOnNlY3JldA==";

/// A registry process that stops with the test.
pub(crate) struct Registry {
    pub(crate) host: String,
    is_closed: bool,
    client: reqwest::Client,
    data: PathBuf,
    _process: Child,
    _folder: TempDir,
}

impl Registry {
    pub(crate) async fn start(is_closed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let password_file = folder.path().join("htpasswd");
        std::fs::write(&password_file, HTPASSWD).unwrap();
        let password = || json!({"htpasswd": {"realm": "models", "path": password_file}});
        let auth = is_closed.then(password);
        Self::serve(folder, data, is_closed, auth).await
    }

    /// A second registry with the same artifacts, which requires a token signed by a token server.
    pub(crate) async fn with_tokens(&self, realm: &str, service: &str, issuer: &str, certificate: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.pem");
        std::fs::write(&file, certificate).unwrap();
        let auth = json!({"token": {"realm": realm, "service": service, "issuer": issuer, "rootcertbundle": file}});
        Self::serve(folder, self.data.clone(), true, Some(auth)).await
    }

    async fn serve(folder: TempDir, data: PathBuf, is_closed: bool, auth: Option<Value>) -> Self {
        let port = free_port();
        let host = format!("127.0.0.1:{port}");
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": data}},
            "http": {"addr": host},
        });
        if let Some(auth) = auth {
            config["auth"] = auth;
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve".as_ref(), file.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}: eval \"$(tests/tools)\" installs it"));
        let client = reqwest::Client::new();
        for _ in 0..200 {
            if client.get(format!("http://{host}/v2/")).send().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            host,
            is_closed,
            client,
            data,
            _process: process,
            _folder: folder,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let request = if self.is_closed {
            request.basic_auth("reader", Some("secret"))
        } else {
            request
        };
        request.send().await.unwrap().error_for_status().unwrap()
    }

    /// Uploads a blob; returns its descriptor.
    pub(crate) async fn blob(&self, repository: &str, media_type: &str, bytes: &[u8], annotations: Value) -> Value {
        let uploads = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let begun = self.send(self.client.post(uploads)).await;
        let upload = begun.headers()["location"].to_str().unwrap().to_owned();
        let digest = digest(bytes);
        let separator = if upload.contains('?') { '&' } else { '?' };
        let put = self.client.put(format!("{upload}{separator}digest={digest}"));
        self.send(put.body(bytes.to_vec())).await;
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "annotations": annotations})
    }

    /// Uploads a manifest; returns its digest.
    pub(crate) async fn manifest(&self, repository: &str, tag: &str, media_type: &str, manifest: &Value) -> String {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let text = manifest.to_string();
        let put = self.client.put(url).header("content-type", media_type);
        self.send(put.body(text.clone())).await;
        digest(text.as_bytes())
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

pub(crate) fn weights(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

pub(crate) async fn run(arguments: &[&str], folder: &Path, credentials: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
        .args(arguments)
        .arg(folder)
        .env("DOCKER_AUTH_CONFIG", credentials)
        .env("HOME", "/nonexistent")
        // The weights here have no header.
        .env("MODELCACHE_FORMAT_CHECK", "warn")
        .output()
        .await
        .unwrap()
}

/// Uploads the blobs of a ModelPack artifact with two files; returns its manifest.
pub(crate) async fn model_pack(registry: &Registry, weights: &[u8]) -> Value {
    let name = "org/model";
    let path = |path: &str| json!({"org.cncf.model.filepath": path});
    let config = registry
        .blob(name, "application/vnd.cncf.model.config.v1+json", b"{}", json!({}))
        .await;
    let raw = "application/vnd.cncf.model.weight.v1.raw";
    let layers = [
        registry.blob(name, raw, weights, path("sub/model.safetensors")).await,
        registry
            .blob(
                name,
                "application/vnd.cncf.model.weight.config.v1.raw",
                b"{\"a\": 1}",
                path("config.json"),
            )
            .await,
    ];
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": config, "layers": layers,
    })
}

#[tokio::test]
async fn an_artifact_is_fetched_by_tag_and_by_digest_and_published_by_its_digest() {
    let registry = Registry::start(false).await;
    let bytes = weights(9 << 20);
    let manifest = model_pack(&registry, &bytes).await;
    let digest = registry.manifest("org/model", "v1", MANIFEST, &manifest).await;
    for reference in [":v1".to_owned(), format!("@{digest}")] {
        let folder = tempfile::tempdir().unwrap();
        let source = format!("oci+http://{}/org/model{reference}", registry.host);
        let output = run(&["fetch", &source, "--json"], folder.path(), "").await;
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["revision"], json!(digest), "{report}");
        let current = folder.path().join("current");
        assert!(std::fs::read(current.join("sub/model.safetensors")).unwrap() == bytes);
        assert_eq!(std::fs::read(current.join("config.json")).unwrap(), b"{\"a\": 1}");
    }
}

#[tokio::test]
async fn a_private_registry_requires_its_password_which_is_never_printed() {
    let registry = Registry::start(true).await;
    let manifest = model_pack(&registry, &weights(1 << 20)).await;
    registry.manifest("org/model", "v1", MANIFEST, &manifest).await;
    let source = format!("oci+http://{}/org/model:v1", registry.host);
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["fetch", &source], folder.path(), "").await;
    let code = i32::from(FailureClass::AuthenticationFailed.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let credentials = json!({"auths": {&registry.host: {"auth": READER}}}).to_string();
    let output = run(&["fetch", &source], folder.path(), &credentials).await;
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains(READER) && !printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn a_missing_tag_is_reported() {
    let registry = Registry::start(false).await;
    let folder = tempfile::tempdir().unwrap();
    let source = format!("oci+http://{}/org/none:v1", registry.host);
    let output = run(&["fetch", &source], folder.path(), "").await;
    let code = i32::from(FailureClass::RepositoryNotFound.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("check registry, repository and tag"), "{stderr}");
}

#[tokio::test]
async fn an_ollama_model_is_published_in_the_layout_of_ollama() {
    let registry = Registry::start(false).await;
    let gguf = weights(3 << 20);
    let none = || json!({});
    let config = registry
        .blob(
            "library/tiny",
            "application/vnd.docker.container.image.v1+json",
            b"{\"model_format\":\"gguf\"}",
            none(),
        )
        .await;
    let model = registry
        .blob("library/tiny", "application/vnd.ollama.image.model", &gguf, none())
        .await;
    let license = registry
        .blob("library/tiny", "application/vnd.ollama.image.license", b"MIT", none())
        .await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config,
        "layers": [model, license],
    });
    let digest_of_manifest = registry
        .manifest("library/tiny", "1b", DOCKER_MANIFEST, &manifest)
        .await;
    let folder = tempfile::tempdir().unwrap();
    let source = format!("ollama+http://{}/library/tiny:1b", registry.host);
    let output = run(&["fetch", &source], folder.path(), "").await;
    assert!(output.status.success(), "{output:?}");
    let current = folder.path().join("current");
    let kept = std::fs::read(current.join(format!("manifests/{}/library/tiny/1b", registry.host))).unwrap();
    assert_eq!(digest(&kept), digest_of_manifest, "the manifest is kept byte for byte");
    for bytes in [gguf.as_slice(), b"MIT", b"{\"model_format\":\"gguf\"}"] {
        let blob = current.join("blobs").join(digest(bytes).replace(':', "-"));
        assert!(std::fs::read(&blob).unwrap() == bytes, "{}", blob.display());
    }
}

#[tokio::test]
async fn a_token_is_requested_from_the_realm_and_not_sent_to_the_target_of_a_redirect() {
    let (server, storage) = (ScriptedServer::start().await, ScriptedServer::start().await);
    let host = server.url.trim_start_matches("http://").to_owned();
    let bytes = b"hello";
    let layer = json!({
        "mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": digest(bytes), "size": bytes.len(),
        "annotations": {"org.cncf.model.filepath": "a"},
    });
    let manifest = json!({"layers": [layer]}).to_string();
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"models\",scope=\"repository:a/b:pull\"",
        server.url
    );
    let refused = || answer(401).header("www-authenticate", &challenge);
    server.on("GET /v2/a/b/manifests/v1", [refused(), json(&manifest)]);
    let blob = format!("GET /v2/a/b/blobs/{}", digest(bytes));
    let signed = format!("{}/blob?X-Amz-Signature=1", storage.url);
    server.on(&blob, [answer(307).header("location", &signed)]);
    storage.on("GET /blob?X-Amz-Signature=1", [answer(200).body(bytes)]);
    let token = "GET /token?service=models&scope=repository%3Aa%2Fb%3Apull";
    server.on(token, [json(r#"{"token": "let-me-in", "expires_in": 300}"#)]);
    let folder = tempfile::tempdir().unwrap();
    let credentials = json!({"auths": {&host: {"auth": READER}}}).to_string();
    let output = run(
        &["fetch", &format!("oci+http://{host}/a/b:v1")],
        folder.path(),
        &credentials,
    )
    .await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(folder.path().join("current/a")).unwrap(), bytes);
    let sent: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| (request.line, request.authorization))
        .collect();
    let bearer = Some("Bearer let-me-in".to_owned());
    assert_eq!(sent[0], ("GET /v2/a/b/manifests/v1".to_owned(), None));
    assert_eq!(sent[1], (token.to_owned(), Some(format!("Basic {READER}"))));
    assert_eq!(sent[2], ("GET /v2/a/b/manifests/v1".to_owned(), bearer.clone()));
    assert!(
        sent[3..].iter().all(|(line, sent)| *line == blob && *sent == bearer),
        "{sent:?}"
    );
    assert!(storage.requests().iter().all(|request| request.authorization.is_none()));
}
