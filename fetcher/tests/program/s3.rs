//! Objects in a bucket of moto, an independent implementation of the S3 protocol.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::http::client;
use modelcache_fetcher::http::retry::Policy;
use modelcache_fetcher::source::s3::{KeySource, S3, S3Endpoint};
use modelcache_fetcher::source::{Location, Source};
use pretty_assertions::assert_eq;
use reqwest::StatusCode;
use rusty_s3::Credentials;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::port::free_port;
use crate::scripted::{ScriptedServer, answer};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_BASE64: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

/// A store process that stops with the test.
struct Store {
    url: String,
    client: reqwest::Client,
    _process: Child,
    _folder: TempDir,
}

impl Store {
    async fn start() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("moto_server: {error}: eval \"$(tests/tools)\" installs it"));
        let store = Self {
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::new(),
            _process: process,
            _folder: folder,
        };
        for _ in 0..400 {
            if store.client.get(&store.url).send().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        store.put("models", &[], b"").await;
        store
    }

    async fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut put = self.client.put(format!("{}/{path}", self.url)).body(body.to_vec());
        put = put.header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request",
        );
        for (name, value) in headers {
            put = put.header(*name, *value);
        }
        put.send().await.unwrap().error_for_status().unwrap();
    }

    /// Runs the program with arbitrary keys, since moto accepts all of them.
    async fn run(&self, arguments: &[&str], folder: &Path) -> Output {
        Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
            .args(arguments)
            .arg(folder)
            .args(["--s3-endpoint", &self.url])
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "very-secret")
            .output()
            .await
            .unwrap()
    }

    fn source(&self, address: &str, keys: KeySource) -> S3 {
        source(&self.url, address, keys)
    }

    async fn get(&self, location: &Location) -> StatusCode {
        let location = location.http().unwrap();
        let get = self.client.get(location.url.expose().clone());
        get.headers(location.headers.clone()).send().await.unwrap().status()
    }
}

/// A source with the retry policy of the program, almost without pauses.
pub(crate) fn source(endpoint: &str, address: &str, keys: KeySource) -> S3 {
    let policy = Policy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(1),
        retry_after_cap: Duration::from_mins(1),
        attempts: 3,
    };
    let endpoint = S3Endpoint {
        url: Some(endpoint.parse().unwrap()),
        region: "us-east-1".to_owned(),
        virtual_hosted: false,
    };
    let client = client::api_client(&client::Trust::default()).unwrap();
    S3::new(address.parse().unwrap(), endpoint, keys, client, policy).unwrap()
}

const CHECKSUM: &[(&str, &str)] = &[
    ("x-amz-sdk-checksum-algorithm", "SHA256"),
    ("x-amz-checksum-sha256", ABC_BASE64),
];

#[tokio::test]
async fn objects_with_a_stored_sha256_are_published() {
    let store = Store::start().await;
    store.put("models/llama/sub%20dir/a.bin", CHECKSUM, b"abc").await;
    store.put("models/llama/b.bin", CHECKSUM, b"abc").await;
    store.put("models/llama2/not-this", CHECKSUM, b"abc").await;
    let folder = tempfile::tempdir().unwrap();
    let output = store.run(&["fetch", "s3://models/llama"], folder.path()).await;
    assert!(output.status.success(), "{output:?}");
    for file in ["sub dir/a.bin", "b.bin"] {
        assert_eq!(std::fs::read(folder.path().join("current").join(file)).unwrap(), b"abc");
    }
    let printed = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(
        !printed.contains("very-secret") && !printed.contains("X-Amz-Signature"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_list_of_digests_next_to_the_objects_selects_and_verifies_them() {
    let store = Store::start().await;
    let large: Vec<u8> = (0..=250).cycle().take(9 << 20).collect();
    let sums = format!("{ABC}  small\n{}  large.bin\n", sha256(&large));
    store.put("models/m/small", &[], b"abc").await;
    store.put("models/m/large.bin", &[], &large).await;
    store.put("models/m/not-listed", &[], b"x").await;
    store.put("models/m/SHA256SUMS", &[], sums.as_bytes()).await;
    let folder = tempfile::tempdir().unwrap();
    let output = store.run(&["fetch", "s3://models/m/"], folder.path()).await;
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read(folder.path().join("current/large.bin")).unwrap() == large);
    assert!(!folder.path().join("current/not-listed").exists());
}

#[tokio::test]
async fn an_object_without_a_digest_and_a_missing_bucket_are_reported() {
    let store = Store::start().await;
    store.put("models/m/a", &[], b"abc").await;
    let folder = tempfile::tempdir().unwrap();
    for (source, class, expected) in [
        ("s3://models/m", FailureClass::InvalidListing, "put a SHA256SUMS"),
        (
            "s3://models/none",
            FailureClass::RepositoryNotFound,
            "check bucket and prefix",
        ),
        (
            "s3://no-such-bucket/m",
            FailureClass::RepositoryNotFound,
            "NoSuchBucket",
        ),
    ] {
        let output = store.run(&["fetch", source], folder.path()).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[tokio::test]
async fn an_object_replaced_after_the_listing_is_not_served() {
    let store = Store::start().await;
    store.put("models/m/a", CHECKSUM, b"abc").await;
    let keys = KeySource::Static(Credentials::new("key", "secret"));
    let source = store.source("s3://models/m", keys);
    let listing = source.list().await.unwrap();
    let location = source.locate(&listing.revision, &listing.files[0]).await.unwrap();
    assert_eq!(store.get(&location).await, StatusCode::OK);
    store.put("models/m/a", &[], b"xyz").await;
    assert_eq!(store.get(&location).await, StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_keys_once() {
    let store = Store::start().await;
    store.put("models/m/a", CHECKSUM, b"abc").await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "header.payload.signature\n").unwrap();
    let keys = KeySource::WebIdentity {
        sts: store.url.parse().unwrap(),
        role: "arn:aws:iam::123456789012:role/models".to_owned(),
        token_file,
    };
    let source = store.source("s3://models/m", keys);
    let listing = source.list().await.unwrap();
    let location = source.locate(&listing.revision, &listing.files[0]).await.unwrap();
    assert!(
        location
            .http()
            .unwrap()
            .url
            .expose()
            .query()
            .unwrap()
            .contains("X-Amz-Security-Token=")
    );
    assert_eq!(store.get(&location).await, StatusCode::OK);
}

#[tokio::test]
async fn an_agent_on_the_node_is_asked_once_with_its_token() {
    let (store, agent) = (Store::start().await, ScriptedServer::start().await);
    store.put("models/m/a", CHECKSUM, b"abc").await;
    let keys = r#"{"AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}"#;
    agent.on("GET /v1/credentials", [answer(200).body(keys.as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "agent-token\n").unwrap();
    let keys = KeySource::Container {
        agent: format!("{}/v1/credentials", agent.url).parse().unwrap(),
        token_file: Some(token_file),
    };
    let listing = store.source("s3://models/m", keys).list().await.unwrap();
    assert_eq!(listing.files.len(), 1);
    let requests = agent.requests();
    assert_eq!(
        (requests.len(), requests[0].authorization.as_deref()),
        (1, Some("agent-token"))
    );
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
