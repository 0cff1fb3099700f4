//! Objects in a bucket of versitygw, an S3 server over a folder. Unlike moto, it checks signatures and keeps versions.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use modelcache_fetcher::source::s3::{KeySource, S3};
use modelcache_fetcher::source::{Location, Source};
use pretty_assertions::assert_eq;
use reqwest::StatusCode;
use rstest::rstest;
use rusty_s3::actions::{CreateBucket, PutObject};
use rusty_s3::signing::sign;
use rusty_s3::{Bucket, Credentials, Method, S3Action, UrlStyle};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::port::free_port;
use crate::s3::source;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_BASE64: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
const KEY: &str = "reader";
const SECRET: &str = "very-secret";
const SIGNED_FOR: Duration = Duration::from_mins(5);

/// A store process with one bucket, which stops with the test.
struct Gateway {
    url: String,
    bucket: Bucket,
    client: reqwest::Client,
    folder: TempDir,
    _process: Child,
}

impl Gateway {
    async fn start() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        for name in ["objects", "versions"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let process = Command::new("versitygw")
            .args(["--port", &format!("127.0.0.1:{port}"), "--quiet", "posix"])
            .arg("--versioning-dir")
            .args([folder.path().join("versions"), folder.path().join("objects")])
            .env("ROOT_ACCESS_KEY", KEY)
            .env("ROOT_SECRET_KEY", SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("versitygw: {error}: eval \"$(tests/tools)\" installs it"));
        let url = format!("http://127.0.0.1:{port}");
        let bucket = Bucket::new(url.parse().unwrap(), UrlStyle::Path, "models", "us-east-1").unwrap();
        let gateway = Self {
            url,
            bucket,
            client: reqwest::Client::new(),
            folder,
            _process: process,
        };
        for _ in 0..400 {
            if gateway.client.get(&gateway.url).send().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let created = CreateBucket::new(&gateway.bucket, &keys()).sign(SIGNED_FOR);
        gateway.send(gateway.client.put(created)).await;
        gateway
    }

    async fn send(&self, request: reqwest::RequestBuilder) {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    }

    /// Puts an object; the store keeps the checksum, if one is given.
    async fn put(&self, key: &str, checksum: Option<&str>, body: &[u8]) {
        let keys = keys();
        let mut action = PutObject::new(&self.bucket, Some(&keys), key);
        if let Some(checksum) = checksum {
            action.headers_mut().insert("x-amz-checksum-sha256", checksum);
        }
        let mut put = self.client.put(action.sign(SIGNED_FOR)).body(body.to_vec());
        if let Some(checksum) = checksum {
            put = put.header("x-amz-checksum-sha256", checksum);
        }
        self.send(put).await;
    }

    async fn enable_versioning(&self) {
        let url = sign(
            &Timestamp::now(),
            Method::Put,
            self.bucket.base_url().clone(),
            KEY,
            SECRET,
            None,
            "us-east-1",
            SIGNED_FOR.as_secs(),
            [("versioning", "")].into_iter(),
            std::iter::empty(),
        );
        let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.send(self.client.put(url).body(body)).await;
    }

    async fn run(&self, source: &str, folder: &Path, keys: (&str, &str)) -> Output {
        Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
            .args(["fetch", source, "--s3-endpoint", &self.url])
            .arg(folder)
            .env("AWS_ACCESS_KEY_ID", keys.0)
            .env("AWS_SECRET_ACCESS_KEY", keys.1)
            .output()
            .await
            .unwrap()
    }

    fn source(&self, address: &str) -> S3 {
        source(&self.url, address, KeySource::Static(keys()))
    }

    async fn get(&self, location: &Location) -> (StatusCode, String) {
        let location = location.http().unwrap();
        let get = self.client.get(location.url.expose().clone());
        let answer = get.headers(location.headers.clone()).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

fn keys() -> Credentials {
    Credentials::new(KEY, SECRET)
}

#[tokio::test]
async fn objects_with_any_name_are_published_from_a_store_that_checks_signatures() {
    let gateway = Gateway::start().await;
    let names = ["a.bin", "sub dir/a b+c.bin", "größe/模型&=%41.bin"];
    for name in names {
        gateway.put(&format!("llama/{name}"), Some(ABC_BASE64), b"abc").await;
    }
    gateway.put("llama2/not-this", Some(ABC_BASE64), b"abc").await;
    let folder = tempfile::tempdir().unwrap();
    let output = gateway.run("s3://models/llama", folder.path(), (KEY, SECRET)).await;
    assert!(output.status.success(), "{output:?}");
    for name in names {
        assert_eq!(std::fs::read(folder.path().join("current").join(name)).unwrap(), b"abc");
    }
    let printed = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(
        !printed.contains(SECRET) && !printed.contains("X-Amz-Signature"),
        "{printed}"
    );
}

#[rstest]
#[case::wrong_secret((KEY, "other"), FailureClass::AuthenticationFailed)]
#[case::unknown_key(("stranger", SECRET), FailureClass::AuthenticationFailed)]
#[case::no_keys(("", ""), FailureClass::AccessDenied)]
#[tokio::test]
async fn wrong_or_missing_keys_are_refused_at_once(#[case] keys: (&str, &str), #[case] class: FailureClass) {
    let gateway = Gateway::start().await;
    gateway.put("m/a", Some(ABC_BASE64), b"abc").await;
    let folder = tempfile::tempdir().unwrap();
    let output = gateway.run("s3://models/m", folder.path(), keys).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{stderr}");
    assert!(stderr.contains("key"), "{stderr}");
}

#[tokio::test]
async fn a_bucket_with_more_objects_than_one_page_is_listed_completely() {
    let gateway = Gateway::start().await;
    // Written as files, without the gateway, which therefore has neither ETag nor digest for them.
    let objects = gateway.folder.path().join("objects/models/many");
    std::fs::create_dir(&objects).unwrap();
    let names: Vec<String> = (0..1005).map(|number| number.to_string()).collect();
    for name in &names {
        std::fs::write(objects.join(name), b"abc").unwrap();
    }
    let sums: Vec<String> = names.iter().map(|name| format!("{ABC}  {name}\n")).collect();
    std::fs::write(objects.join("SHA256SUMS"), sums.concat()).unwrap();
    let source = gateway.source("s3://models/many");
    let listing = source.list().await.unwrap();
    assert_eq!(listing.files.len(), 1005);
    let location = source.locate(&listing.revision, &listing.files[1004]).await.unwrap();
    assert_eq!(
        location.http().unwrap().headers.len(),
        0,
        "without a valid ETag there is no precondition"
    );
    assert_eq!(gateway.get(&location).await, (StatusCode::OK, "abc".to_owned()));
}

#[tokio::test]
async fn a_replaced_object_is_not_served_without_versioning() {
    let gateway = Gateway::start().await;
    gateway.put("m/a", Some(ABC_BASE64), b"abc").await;
    let source = gateway.source("s3://models/m");
    let listing = source.list().await.unwrap();
    let location = source.locate(&listing.revision, &listing.files[0]).await.unwrap();
    assert_eq!(gateway.get(&location).await, (StatusCode::OK, "abc".to_owned()));
    gateway.put("m/a", None, b"xyz").await;
    assert_eq!(gateway.get(&location).await.0, StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn the_listed_version_is_served_after_the_object_was_replaced() {
    let gateway = Gateway::start().await;
    gateway.enable_versioning().await;
    gateway.put("m/a", Some(ABC_BASE64), b"abc").await;
    let source = gateway.source("s3://models/m");
    let listing = source.list().await.unwrap();
    gateway.put("m/a", None, b"xyz").await;
    let location = source.locate(&listing.revision, &listing.files[0]).await.unwrap();
    let query = location.http().unwrap().url.expose().query();
    assert!(query.unwrap().contains("versionId="));
    assert_eq!(gateway.get(&location).await, (StatusCode::OK, "abc".to_owned()));
}
