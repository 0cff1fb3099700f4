//! ModelScope models against scripted answers with the formats of its real servers.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::http::client;
use modelcache_fetcher::http::retry::Policy;
use modelcache_fetcher::model::error::SourceError;
use modelcache_fetcher::source::model_scope::ModelScope;
use modelcache_fetcher::source::{Listing, Source};
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::scripted::{Answer, ScriptedServer, answer, json};

const FILES: &str = "GET /api/v1/models/org/name/repo/files?Revision=master&Recursive=True";

const FILE: &str = "GET /api/v1/models/org/name/repo?Revision=master&FilePath=model.gguf";

fn blob(path: &str) -> Value {
    blob_of(path, b"abc")
}

fn blob_of(path: &str, bytes: &[u8]) -> Value {
    json!({
        "Type": "blob", "Name": path, "Path": path, "Size": bytes.len(), "Sha256": sha256(bytes), "IsLFS": true,
        "Mode": "33188",
    })
}

fn tree(path: &str) -> Value {
    json!({"Type": "tree", "Name": path, "Path": path, "Size": 0})
}

fn listing(files: &[Value]) -> Answer {
    json(&json!({"Code": 200, "Success": true, "Message": "success", "Data": {"Files": files}}).to_string())
}

async fn list(server: &ScriptedServer) -> Result<Listing, SourceError> {
    let policy = Policy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(1),
        retry_after_cap: Duration::from_mins(1),
        attempts: 3,
    };
    let (endpoint, address) = (server.url.parse().unwrap(), "modelscope://org/name".parse().unwrap());
    let source = ModelScope::new(
        endpoint,
        address,
        None,
        client::api_client(&client::Trust::default()).unwrap(),
        policy,
    )
    .unwrap();
    source.list().await
}

/// A command that fetches the model into a folder. The weights here have no header.
fn program(server: &ScriptedServer, folder: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"));
    program
        .args(["fetch", "modelscope://org/name", "--format-check", "warn"])
        .args(["--modelscope-endpoint", &server.url])
        .arg(folder);
    program
}

#[tokio::test]
async fn the_program_publishes_a_model_and_sends_the_token_only_to_the_hub() {
    let (server, storage) = (ScriptedServer::start().await, ScriptedServer::start().await);
    server.on(FILES, [listing(&[tree("sub"), blob("sub/model.gguf")])]);
    let file = "GET /api/v1/models/org/name/repo?Revision=master&FilePath=sub%2Fmodel.gguf";
    let signed = format!("{}/x?Expires=4102444800&Signature=s", storage.url);
    server.on(file, [answer(302).header("location", &signed)]);
    storage.on("GET /x?Expires=4102444800&Signature=s", [answer(200).body(b"abc")]);
    let folder = tempfile::tempdir().unwrap();
    let output = program(&server, folder.path())
        .env("MODELSCOPE_API_TOKEN", "ms-secret")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        std::fs::read(folder.path().join("current/sub/model.gguf")).unwrap(),
        b"abc"
    );
    let (bearer, cookie) = ("Bearer ms-secret".to_owned(), "m_session_id=ms-secret".to_owned());
    let both = (Some(bearer), Some(cookie));
    assert!(
        server
            .requests()
            .into_iter()
            .all(|request| (request.authorization, request.cookie) == both)
    );
    let neither = (None, None);
    assert!(
        storage
            .requests()
            .into_iter()
            .all(|request| (request.authorization, request.cookie) == neither)
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("ms-secret") && !stderr.contains("Signature=s"),
        "{stderr}"
    );
}

/// Fetches a model of one file into a folder.
async fn fetch(server: &ScriptedServer, folder: &Path, bytes: &[u8]) -> Output {
    server.on(FILES, [listing(&[blob_of("model.gguf", bytes)])]);
    program(server, folder).output().await.unwrap()
}

#[rstest]
#[case::ranges_with_status_200(Answer::with_status_200_for_ranges)]
#[case::no_ranges_at_all(Answer::without_ranges)]
#[tokio::test]
async fn a_file_of_several_pieces_is_published_without_proper_ranges(#[case] ranges: fn(Answer) -> Answer) {
    let (server, folder) = (ScriptedServer::start().await, tempfile::tempdir().unwrap());
    let bytes: Vec<u8> = (0..=250).cycle().take(20 << 20).collect();
    server.on(FILE, [ranges(answer(200).body(&bytes))]);
    let output = fetch(&server, folder.path(), &bytes).await;
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read(folder.path().join("current/model.gguf")).unwrap() == bytes);
}

#[tokio::test]
async fn the_body_of_a_refused_range_is_discarded() {
    let (server, folder) = (ScriptedServer::start().await, tempfile::tempdir().unwrap());
    let refused = answer(416)
        .header("content-range", "bytes */2")
        .body(b"{\"Code\": 416}");
    let good = answer(200).body(b"abc");
    server.on(FILE, [good.clone(), refused, good]);
    let output = fetch(&server, folder.path(), b"abc").await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(folder.path().join("current/model.gguf")).unwrap(), b"abc");
}

#[rstest]
#[case::gone(404, FailureClass::FileNotFound)]
#[case::not_granted(403, FailureClass::AccessDenied)]
#[tokio::test]
async fn an_error_with_status_200_instead_of_a_file_is_reported(#[case] code: u16, #[case] class: FailureClass) {
    let (server, folder) = (ScriptedServer::start().await, tempfile::tempdir().unwrap());
    let body = json!({"Code": code, "Success": false, "Message": "no", "Data": null}).to_string();
    server.on(FILE, [json(&body).without_ranges()]);
    let output = fetch(&server, folder.path(), b"abc").await;
    assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{output:?}");
    assert!(!folder.path().join("current").exists());
}

#[tokio::test]
async fn a_truncated_listing_is_requested_folder_by_folder() {
    let server = ScriptedServer::start().await;
    let many: Vec<Value> = (0..3000).map(|number| blob(&format!("a/{number}"))).collect();
    server.on(FILES, [listing(&many)]);
    let of = |recursive: &str, root: &str| {
        format!("GET /api/v1/models/org/name/repo/files?Revision=master&Recursive={recursive}{root}")
    };
    server.on(
        &of("False", ""),
        [listing(&[tree("a"), tree("b"), blob("config.json")])],
    );
    server.on(&of("True", "&Root=a"), [listing(&many[..2999])]);
    // A 403 for a repository that was readable before is transient: its servers sometimes send one.
    server.on(&of("True", "&Root=b"), [answer(403), listing(&[blob("b/x")])]);
    let listing = list(&server).await.unwrap();
    assert_eq!(listing.files.len(), 2999 + 2);
}

#[rstest]
#[case::error_with_status_200(
    json(r#"{"Code": 404, "Success": false, "Message": "no such model"}"#),
    FailureClass::RepositoryNotFound
)]
#[case::other_code(
    json(r#"{"Code": 10010205001, "Success": false, "Message": "x"}"#),
    FailureClass::SourceError
)]
#[case::not_there(answer(404).body(b"{\"Code\": 10010205001, \"Success\": false}"), FailureClass::RepositoryNotFound)]
#[case::token(answer(401), FailureClass::AuthenticationFailed)]
#[case::access(answer(403), FailureClass::AccessDenied)]
#[case::page(answer(200).body(b"<html>"), FailureClass::SourceError)]
#[case::hostile_path(listing(&[blob("../x")]), FailureClass::InvalidListing)]
#[case::no_digest(listing(&[json!({"Type": "blob", "Path": "x", "Size": 3})]), FailureClass::InvalidListing)]
#[tokio::test]
async fn a_response_that_is_not_a_listing_is_reported(#[case] answer: Answer, #[case] class: FailureClass) {
    let server = ScriptedServer::start().await;
    server.on(FILES, [answer]);
    let error = list(&server).await.unwrap_err();
    assert_eq!(error.class, class, "{error}");
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
