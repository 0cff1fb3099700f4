//! Scripted S3 faults: busy stores, also with status 200, and objects that are replaced.

use std::path::Path;
use std::process::Output;

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::source::Source;
use modelcache_fetcher::source::s3::KeySource;
use pretty_assertions::assert_eq;
use tokio::process::Command;

use crate::s3::source;
use crate::scripted::{Answer, ScriptedServer, answer};

const PAGE: &str = "GET /models/?encoding-type=url&list-type=2&prefix=m";
const SUMS: &str = "GET /models/m/SHA256SUMS";
const OBJECT: &str = "GET /models/m/a";
/// The list with the digest of `abc`.
const LIST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n";

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>");
    answer(status).body(body.as_bytes())
}

fn page() -> Answer {
    let object = |key: &str, size: usize| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>\"e\"</ETag>\
             <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    };
    let body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>models</Name>\
         <Prefix>m</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{}{}\
         </ListBucketResult>",
        object("m/a", 3),
        object("m/SHA256SUMS", LIST.len()),
    );
    answer(200).body(body.as_bytes())
}

/// A bucket with one object and the list of its digest.
async fn store() -> ScriptedServer {
    let store = ScriptedServer::start().await;
    store.on(PAGE, [page()]);
    store.on(SUMS, [answer(200).body(LIST.as_bytes())]);
    store
}

async fn fetch(store: &ScriptedServer, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
        .args(["fetch", "s3://models/m", "--s3-endpoint", &store.url])
        .arg(folder)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_busy_store_is_retried_even_if_it_responds_with_status_200() {
    let store = store().await;
    store.on(PAGE, [error(503, "SlowDown"), error(200, "InternalError"), page()]);
    store.on(SUMS, [error(200, "SlowDown"), answer(200).body(LIST.as_bytes())]);
    let source = source(&store.url, "s3://models/m", KeySource::Anonymous);
    assert_eq!(source.list().await.unwrap().files.len(), 1);
}

#[tokio::test]
async fn an_error_instead_of_an_object_is_discarded() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    let answers = [
        error(503, "SlowDown"),
        error(200, "InternalError").without_ranges(),
        answer(200).body(b"abc"),
    ];
    store.on(OBJECT, answers);
    let output = fetch(&store, folder.path()).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(folder.path().join("current/a")).unwrap(), b"abc");
}

#[tokio::test]
async fn each_request_for_an_object_names_the_listed_version() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    store.on(OBJECT, [error(503, "SlowDown"), answer(200).body(b"abc")]);
    assert!(fetch(&store, folder.path()).await.status.success());
    let objects = store.requests().into_iter().filter(|request| request.line == OBJECT);
    let preconditions: Vec<_> = objects.map(|request| request.if_match).collect();
    assert_eq!(preconditions, [Some("\"e\"".to_owned()), Some("\"e\"".to_owned())]);
}

#[tokio::test]
async fn an_object_replaced_during_the_fetch_ends_the_run_as_changed() {
    let (store, folder) = (store().await, tempfile::tempdir().unwrap());
    store.on(OBJECT, [error(412, "PreconditionFailed")]);
    let output = fetch(&store, folder.path()).await;
    let code = i32::from(FailureClass::SourceChanged.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!folder.path().join("current").exists());
}
