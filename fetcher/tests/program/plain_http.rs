//! Files on a plain HTTP server: requests, refused responses, and what the program publishes.

use std::time::Duration;

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::http::client;
use modelcache_fetcher::http::retry::Policy;
use modelcache_fetcher::model::error::SourceError;
use modelcache_fetcher::source::plain_http::PlainHttp;
use modelcache_fetcher::source::{Listing, Source};
use pretty_assertions::assert_eq;
use tokio::process::Command;

use crate::scripted::{Answer, ScriptedServer, answer};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn list(address: &str) -> Result<Listing, SourceError> {
    let policy = Policy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(1),
        retry_after_cap: Duration::from_mins(1),
        attempts: 3,
    };
    let client = client::api_client(&client::Trust::default()).unwrap();
    PlainHttp::new(address.parse().unwrap(), client, policy).list().await
}

fn shown(listing: &Listing) -> Vec<String> {
    let files = listing.files.iter();
    files
        .map(|file| format!("{} {} {}", file.path, file.size, file.digest))
        .collect()
}

fn text(body: &str) -> Answer {
    answer(200).header("content-type", "text/plain").body(body.as_bytes())
}

#[tokio::test]
async fn a_list_names_files_next_to_it_and_its_query_is_sent_for_them() {
    let server = ScriptedServer::start().await;
    let sums = format!("{ABC}  sub dir/m.gguf\n{EMPTY} *empty\n");
    server.on("GET /a/SHA256SUMS?sig=1", [text(&sums)]);
    server.on("HEAD /a/sub%20dir/m.gguf?sig=1", [answer(200).body(b"abc")]);
    server.on("HEAD /a/empty?sig=1", [answer(200)]);
    let listing = list(&format!("{}/a/SHA256SUMS?sig=1", server.url)).await.unwrap();
    assert_eq!(
        shown(&listing),
        [
            format!("sub dir/m.gguf 3 sha256:{ABC}"),
            format!("empty 0 sha256:{EMPTY}")
        ]
    );
    assert!(listing.revision.starts_with("sha256:"), "{}", listing.revision);
    let again = list(&format!("{}/a/SHA256SUMS?sig=1", server.url)).await.unwrap();
    assert_eq!(again.revision, listing.revision, "the same list is the same revision");
}

#[tokio::test]
async fn a_size_is_found_if_only_get_is_allowed() {
    let server = ScriptedServer::start().await;
    server.on("HEAD /m.gguf", [answer(403)]);
    server.on("GET /m.gguf", [answer(200).body(b"abc")]);
    let listing = list(&format!("{}/m.gguf#sha256={ABC}", server.url)).await.unwrap();
    assert_eq!(shown(&listing), [format!("m.gguf 3 sha256:{ABC}")]);
    assert_eq!(listing.revision, format!("sha256:{ABC}"));
}

#[tokio::test]
async fn a_missing_file_fails_at_once_and_a_failing_server_is_retried() {
    let server = ScriptedServer::start().await;
    for method in ["HEAD", "GET"] {
        server.on(&format!("{method} /gone"), [answer(404)]);
    }
    server.on("HEAD /flaky", [answer(503), answer(200).body(b"abc")]);
    server.on("GET /flaky", [answer(503)]);
    let gone = list(&format!("{}/gone#sha256={ABC}", server.url)).await.unwrap_err();
    assert_eq!(gone.class, FailureClass::FileNotFound);
    assert_eq!(server.count("GET /gone"), 1);
    let flaky = list(&format!("{}/flaky#sha256={ABC}", server.url)).await.unwrap();
    assert_eq!(flaky.files[0].size, 3);
}

#[tokio::test]
async fn a_web_page_instead_of_a_list_is_refused_with_its_line() {
    let server = ScriptedServer::start().await;
    server.on("GET /SHA256SUMS", [text("<html>log in</html>")]);
    let error = list(&format!("{}/SHA256SUMS", server.url)).await.unwrap_err();
    assert_eq!(error.class, FailureClass::InvalidListing);
    assert!(error.message.contains("line 1"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_a_file_is_refused_and_a_loop_ends() {
    let server = ScriptedServer::start().await;
    server.on("HEAD /m", [answer(302).header("location", "file:///etc/passwd")]);
    let error = list(&format!("{}/m#sha256={ABC}", server.url)).await.unwrap_err();
    assert!(
        error.message.contains("neither https nor http; not followed"),
        "{error}"
    );
    server.on("HEAD /loop", [answer(302).header("location", "/loop")]);
    let error = list(&format!("{}/loop#sha256={ABC}", server.url)).await.unwrap_err();
    assert!(error.message.contains("more than 10 redirects"), "{error}");
}

#[tokio::test]
async fn the_program_publishes_listed_files_and_refuses_wrong_bytes() {
    let server = ScriptedServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    server.on(
        "GET /SHA256SUMS",
        [text(&format!("{ABC}  sub/m.gguf\n{EMPTY}  empty\n"))],
    );
    for method in ["HEAD", "GET"] {
        server.on(&format!("{method} /sub/m.gguf"), [answer(200).body(b"abc")]);
        server.on(&format!("{method} /empty"), [answer(200)]);
        server.on(&format!("{method} /other"), [answer(200).body(b"xyz")]);
    }
    let run = async |source: String, name: &str| {
        let program = env!("CARGO_BIN_EXE_modelcache-fetcher");
        let folder = folder.path().join(name);
        let mut command = Command::new(program);
        command.args(["fetch", &source]).arg(folder).env_remove("HF_ENDPOINT");
        // The weights here are three bytes.
        command.env("MODELCACHE_FORMAT_CHECK", "warn");
        command.output().await.unwrap()
    };
    let output = run(format!("{}/SHA256SUMS", server.url), "all").await;
    assert!(output.status.success(), "{output:?}");
    let published = folder.path().join("all/current/sub/m.gguf");
    assert_eq!(std::fs::read(published).unwrap(), b"abc");

    let output = run(format!("{}/other#sha256={ABC}", server.url), "one").await;
    let code = i32::from(FailureClass::DigestMismatch.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!folder.path().join("one/current").exists());
}
