//! The Hugging Face source against a scripted hub: which requests it sends, and how it handles the responses.

use std::time::Duration;

use modelcache_crds::report::FailureClass;
use modelcache_fetcher::http::client;
use modelcache_fetcher::http::location::HttpLocation;
use modelcache_fetcher::http::retry::Policy;
use modelcache_fetcher::model::digest::ContentDigest;
use modelcache_fetcher::model::error::SourceError;
use modelcache_fetcher::model::path::FilePath;
use modelcache_fetcher::model::remote_file::RemoteFile;
use modelcache_fetcher::source::hugging_face::HuggingFace;
use modelcache_fetcher::source::{Listing, Source};
use pretty_assertions::assert_eq;
use reqwest::header::AUTHORIZATION;
use rstest::rstest;
use secrecy::SecretString;

use crate::scripted::{Answer, ScriptedServer, answer, json};

const COMMIT: &str = "b45ef6fec89518d314f546fd6c3025367b721684";
const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
const REVISION: &str = "GET /api/models/org/name/revision/refs%2Fpr%2F1";

fn tree() -> String {
    format!("GET /api/models/org/name/tree/{COMMIT}?recursive=true&expand=false")
}

fn resolve() -> String {
    format!("HEAD /org/name/resolve/{COMMIT}/sub%20dir/m.safetensors")
}

/// A source with the retry policy of the program, almost without pauses.
fn source(hub: &ScriptedServer, token: Option<&str>) -> HuggingFace {
    let policy = Policy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(1),
        retry_after_cap: Duration::from_mins(1),
        attempts: 5,
    };
    let client = client::api_client(&client::Trust::default()).unwrap();
    let token = token.map(SecretString::from);
    let address = "hf://org/name@refs/pr/1".parse().unwrap();
    HuggingFace::new(hub.url.parse().unwrap(), address, token.as_ref(), client, policy).unwrap()
}

async fn hub() -> ScriptedServer {
    let hub = ScriptedServer::start().await;
    hub.on(
        REVISION,
        [json(&format!(r#"{{"id":"org/name","sha":"{COMMIT}","siblings":[]}}"#))],
    );
    hub.on(&tree(), [json(&format!("[{}]", entry("config.json")))]);
    hub
}

fn entry(path: &str) -> String {
    format!(r#"{{"type":"file","oid":"{COMMIT}","size":13,"path":"{path}"}}"#)
}

fn file() -> RemoteFile {
    RemoteFile {
        path: FilePath::parse("sub dir/m.safetensors").unwrap(),
        size: 1000,
        digest: ContentDigest::sha256_from_hex(SHA256).unwrap(),
    }
}

async fn list(hub: &ScriptedServer) -> Result<Listing, SourceError> {
    source(hub, None).list().await
}

async fn locate(hub: &ScriptedServer, token: Option<&str>) -> Result<HttpLocation, SourceError> {
    let located = source(hub, token).locate(COMMIT, &file()).await?;
    Ok(located.http().unwrap().clone())
}

fn paths(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| file.path.as_str()).collect()
}

#[tokio::test]
async fn a_revision_is_resolved_once_and_its_pages_are_followed() {
    let hub = hub().await;
    let next = format!("/api/models/org/name/tree/{COMMIT}?recursive=true&expand=false&cursor=a%3D%3D");
    let link = format!(r#"<{}{next}>; rel="next""#, hub.url);
    hub.on(&tree(), [json(&format!("[{}]", entry("a"))).header("link", &link)]);
    hub.on(&format!("GET {next}"), [json(&format!("[{}]", entry("b/c")))]);
    let listing = list(&hub).await.unwrap();
    assert_eq!((listing.revision.as_str(), paths(&listing)), (COMMIT, vec!["a", "b/c"]));
    assert_eq!(hub.count(REVISION), 1);
}

#[tokio::test]
async fn pages_that_link_back_to_themselves_end_the_listing() {
    let hub = hub().await;
    let link = format!("<{}{}>; rel=\"next\"", hub.url, tree().trim_start_matches("GET "));
    hub.on(&tree(), [json("[]").header("link", &link)]);
    let error = list(&hub).await.unwrap_err();
    assert_eq!(error.class, FailureClass::InvalidListing);
    assert!(error.message.contains("pages do not end"), "{error}");
}

#[tokio::test]
async fn a_renamed_repository_is_followed_on_the_same_host_with_the_token() {
    let hub = hub().await;
    hub.on(
        REVISION,
        [answer(307).header("location", "/api/models/new/name/revision/x?a=b")],
    );
    hub.on(
        "GET /api/models/new/name/revision/x?a=b",
        [json(&format!(r#"{{"sha":"{COMMIT}"}}"#))],
    );
    source(&hub, Some("hf_secret")).list().await.unwrap();
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.authorization.as_deref() == Some("Bearer hf_secret"))
    );
}

#[tokio::test]
async fn an_api_redirect_to_another_host_is_reported_and_the_token_is_not_sent_there() {
    let (hub, other) = (hub().await, ScriptedServer::start().await);
    hub.on(
        REVISION,
        [answer(308).header("location", &format!("{}/api", other.url))],
    );
    let error = source(&hub, Some("hf_secret")).list().await.unwrap_err();
    assert_eq!(error.class, FailureClass::SourceError);
    let message = format!("redirects its API to {}; set the endpoint", other.url);
    assert!(error.message.contains(&message), "{error}");
    assert_eq!(other.requests(), []);
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let hub = hub().await;
    let good = json(&format!(r#"{{"sha":"{COMMIT}"}}"#));
    let cut = good.clone().cut_after(10);
    let page = answer(200).header("content-type", "text/html").body(b"<html>");
    hub.on(
        REVISION,
        [answer(503), cut, page, answer(429).header("retry-after", "0"), good],
    );
    list(&hub).await.unwrap();
    assert_eq!(hub.count(REVISION), 5);
}

#[rstest]
#[case::server_error(answer(500), FailureClass::SourceError, 5, "500 Internal Server Error")]
#[case::web_page(answer(200).body(b"\n<!doctype html>"), FailureClass::SourceError, 5, "a web page instead of JSON")]
#[case::half_a_document(json(r#"{"sha":"#), FailureClass::SourceError, 5, "an incomplete JSON document")]
#[case::another_document(
    json(r#"{"sha":7}"#),
    FailureClass::SourceError,
    5,
    "JSON that is not a hub's (line 1, column 8)"
)]
#[case::no_commit(json(r#"{"sha":"main"}"#), FailureClass::SourceError, 1, "which is not a commit")]
#[case::a_long_pause(answer(429).header("retry-after", "61"), FailureClass::RateLimited, 1, "limits the request rate")]
#[case::not_found(answer(404).header("x-error-code", "RepoNotFound"), FailureClass::RepositoryNotFound, 1, "no repository org/name")]
#[case::no_such_revision(answer(404).header("x-error-code", "RevisionNotFound"), FailureClass::RevisionNotFound, 1, "no revision refs/pr/1")]
#[case::gated(answer(403).header("x-error-code", "GatedRepo"), FailureClass::AccessDenied, 1, "accept its terms at")]
#[tokio::test]
async fn failures_end_the_listing(
    #[case] given: Answer,
    #[case] class: FailureClass,
    #[case] tries: usize,
    #[case] message: &str,
) {
    let hub = hub().await;
    hub.on(REVISION, [given]);
    let error = list(&hub).await.unwrap_err();
    assert_eq!(error.class, class, "{error}");
    assert!(error.message.contains(message), "{error}");
    assert_eq!(hub.count(REVISION), tries);
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_reported() {
    let hub = hub().await;
    hub.on(REVISION, [answer(429).header("ratelimit", "\"api\";r=0;t=299")]);
    let error = list(&hub).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_mins(5)));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_the_location_and_carries_no_credentials() {
    let (hub, cdn) = (hub().await, ScriptedServer::start().await);
    let target = format!("{}/xet/{SHA256}?Expires=1781098782&Signature=s", cdn.url);
    let redirect = answer(302)
        .header("location", &target)
        .header("x-repo-commit", COMMIT)
        .header("x-linked-etag", &format!("\"{SHA256}\""))
        .header("x-linked-size", "1000");
    hub.on(&resolve(), [redirect]);
    let location = locate(&hub, Some("hf_secret")).await.unwrap();
    assert_eq!(location.url.expose().as_str(), target);
    assert_eq!(location.headers.len(), 0);
    assert_eq!(location.expires, Some("2026-06-10T13:39:42Z".parse().unwrap()));
    assert!(!format!("{location:?}").contains("Signature"));
    assert_eq!(
        hub.requests().last().unwrap().authorization.as_deref(),
        Some("Bearer hf_secret")
    );
    assert_eq!(cdn.requests(), []);
}

#[tokio::test]
async fn a_relative_redirect_keeps_its_query_and_the_token() {
    let hub = hub().await;
    hub.on(
        &resolve(),
        [answer(307).header("location", "/api/resolve-cache/x?etag=%22a%22")],
    );
    let good = answer(200)
        .header("etag", &format!("\"{SHA256}\""))
        .header("content-length", "1000");
    hub.on("HEAD /api/resolve-cache/x?etag=%22a%22", [good]);
    let location = locate(&hub, Some("hf_secret")).await.unwrap();
    assert_eq!(
        location.url.expose().as_str(),
        format!("{}/api/resolve-cache/x?etag=%22a%22", hub.url)
    );
    assert_eq!(location.headers.get(AUTHORIZATION).unwrap(), "Bearer hf_secret");
    assert!(location.headers[AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn a_mirror_without_head_is_asked_with_get() {
    let hub = hub().await;
    hub.on(&resolve(), [answer(405)]);
    hub.on(
        &resolve().replace("HEAD", "GET"),
        [answer(302).header("location", "https://cdn.invalid/x")],
    );
    let location = locate(&hub, None).await.unwrap();
    assert_eq!(location.url.expose().as_str(), "https://cdn.invalid/x");
}

#[rstest]
#[case::another_commit(answer(200).header("x-repo-commit", "0000000000000000000000000000000000000000"), FailureClass::SourceChanged)]
#[case::another_size(answer(200).header("content-length", "7"), FailureClass::SourceChanged)]
#[case::gone(answer(404).header("x-error-code", "EntryNotFound"), FailureClass::FileNotFound)]
#[case::gated(answer(403).header("x-error-code", "GatedRepo"), FailureClass::AccessDenied)]
#[case::wrong_token(answer(401).header("x-error-message", "Invalid credentials in Authorization header"), FailureClass::AuthenticationFailed)]
#[case::a_loop(answer(302).header("location", "?again"), FailureClass::SourceError)]
#[case::nowhere(answer(302), FailureClass::SourceError)]
#[tokio::test]
async fn a_file_that_cannot_be_located_is_reported_with_its_class(#[case] given: Answer, #[case] class: FailureClass) {
    let hub = hub().await;
    hub.on(&resolve(), [given.clone()]);
    hub.on(&format!("{}?again", resolve()), [given]);
    let error = locate(&hub, None).await.unwrap_err();
    assert_eq!(error.class, class, "{error}");
}
