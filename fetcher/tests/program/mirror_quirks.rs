//! The program against the known deviations of hub mirrors: a path prefix, missing headers, links to the hub itself.

use std::path::Path;
use std::process::Output;

use modelcache_crds::report::FailureClass;
use pretty_assertions::assert_eq;
use rstest::rstest;
use tokio::process::Command;

use crate::scripted::{Answer, ScriptedServer, answer, json};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const MASKED: &str = "****************************************************************";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TREE: &str = "/api/models/org/name/tree/0123456789abcdef0123456789abcdef01234567?recursive=true&expand=false";
const FILE: &str = "/org/name/resolve/0123456789abcdef0123456789abcdef01234567/m.gguf";

fn entry(path: &str, oid: &str, xet: &str) -> String {
    format!(
        r#"{{"type":"file","oid":"{COMMIT}","size":3,"path":"{path}","xetHash":"{xet}",
            "lfs":{{"oid":"{oid}","size":3,"pointerSize":1}}}}"#
    )
}

/// A mirror below a path, with one model of one file.
async fn mirror(prefix: &str) -> ScriptedServer {
    let mirror = ScriptedServer::start().await;
    let info = json(&format!(r#"{{"id":"org/name","sha":"{COMMIT}"}}"#));
    mirror.on(
        &format!("GET {prefix}/api/models/org/name/revision/main"),
        [info.header("link", r#"<https://huggingface.co/x>; rel="xet-auth""#)],
    );
    let listed = json(&format!("[{}]", entry("m.gguf", ABC, MASKED)));
    mirror.on(&format!("GET {prefix}{TREE}"), [listed]);
    serve(&mirror, &format!("{prefix}{FILE}"), &answer(200).body(b"abc"));
    mirror
}

/// Sets the answer to HEAD and GET requests for a path.
fn serve(server: &ScriptedServer, path: &str, answer: &Answer) {
    for method in ["HEAD", "GET"] {
        server.on(&format!("{method} {path}"), [answer.clone()]);
    }
}

async fn fetch(endpoint: &str, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_modelcache-fetcher"))
        .args(["fetch", "hf://org/name", "--endpoint", endpoint])
        .arg(folder)
        .env("HF_TOKEN", " secret\n")
        // The weights here are three bytes.
        .env("MODELCACHE_FORMAT_CHECK", "warn")
        .output()
        .await
        .unwrap()
}

fn is_published(folder: &Path) -> bool {
    std::fs::read(folder.join("current/m.gguf")).is_ok_and(|bytes| bytes == b"abc")
}

#[tokio::test]
async fn a_proxy_below_a_path_works_without_headers_for_commit_and_digest() {
    let (mirror, folder) = (mirror("/hub/hf").await, tempfile::tempdir().unwrap());
    let output = fetch(&format!("{}/hub/hf/", mirror.url), folder.path()).await;
    assert!(output.status.success() && is_published(folder.path()), "{output:?}");
    // Whitespace around the token is removed.
    let token = Some("Bearer secret".to_owned());
    assert!(mirror.requests().iter().all(|request| request.authorization == token));
}

#[tokio::test]
async fn a_redirect_that_omits_the_path_of_the_proxy_is_followed_below_it() {
    let (mirror, folder) = (mirror("/hub/hf").await, tempfile::tempdir().unwrap());
    let cached = "/api/resolve-cache/models/org/name/m.gguf?etag=%22a%22";
    serve(
        &mirror,
        &format!("/hub/hf{FILE}"),
        &answer(307).header("location", cached),
    );
    serve(&mirror, &format!("/hub/hf{cached}"), &answer(200).body(b"abc"));
    let output = fetch(&format!("{}/hub/hf", mirror.url), folder.path()).await;
    assert!(output.status.success() && is_published(folder.path()), "{output:?}");
}

#[tokio::test]
async fn xet_headers_are_ignored() {
    let (mirror, storage) = (mirror("").await, ScriptedServer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let links = format!(
        r#"<https://huggingface.co/api/models/org/name/xet-read-token/{COMMIT}>; rel="xet-auth", <https://cas-server.xethub.hf.co/v1/reconstructions/{ABC}>; rel="xet-reconstruction-info""#
    );
    let redirect = answer(302)
        .header(
            "location",
            &format!("{}/xet-bridge-us/x?Expires=4102444800", storage.url),
        )
        .header("link", &links)
        .header("x-xet-hash", ABC)
        .header("x-linked-etag", &format!("\"{ABC}\""))
        .header("x-linked-size", "3");
    serve(&mirror, FILE, &redirect);
    storage.on("GET /xet-bridge-us/x?Expires=4102444800", [answer(200).body(b"abc")]);
    let output = fetch(&mirror.url, folder.path()).await;
    assert!(output.status.success() && is_published(folder.path()), "{output:?}");
    // The read token, for which many mirrors return 404, is never requested.
    assert!(
        !mirror
            .requests()
            .iter()
            .any(|request| request.line.contains("xet-read-token"))
    );
    assert!(storage.requests().iter().all(|request| request.authorization.is_none()));
}

#[tokio::test]
async fn a_file_that_is_redirected_to_the_hub_is_verified_and_the_hub_gets_no_token() {
    let (mirror, hub) = (mirror("").await, ScriptedServer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let back = answer(308).header("location", &format!("{}{FILE}", hub.url));
    serve(&mirror, FILE, &back);
    hub.on(
        &format!("GET {FILE}"),
        [answer(307).header("location", "/api/resolve-cache/m.gguf?etag=%22x%22")],
    );
    hub.on("GET /api/resolve-cache/m.gguf?etag=%22x%22", [answer(200).body(b"abc")]);
    let output = fetch(&mirror.url, folder.path()).await;
    assert!(output.status.success() && is_published(folder.path()), "{output:?}");
    assert!(hub.requests().iter().all(|request| request.authorization.is_none()));
}

#[tokio::test]
async fn a_link_to_the_next_page_at_the_hub_is_followed_at_the_mirror() {
    for prefix in ["", "/hub/hf"] {
        let (mirror, folder) = (mirror(prefix).await, tempfile::tempdir().unwrap());
        let next = format!("<https://huggingface.co{TREE}&cursor=a%3D>; rel=\"next\"");
        mirror.on(&format!("GET {prefix}{TREE}"), [json("[]").header("link", &next)]);
        let listed = json(&format!("[{}]", entry("m.gguf", ABC, ABC)));
        mirror.on(&format!("GET {prefix}{TREE}&cursor=a%3D"), [listed]);
        let output = fetch(&format!("{}{prefix}", mirror.url), folder.path()).await;
        assert!(output.status.success() && is_published(folder.path()), "{output:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_repeats_one_page_forever_is_refused() {
    let (mirror, folder) = (mirror("").await, tempfile::tempdir().unwrap());
    let next = format!("<https://huggingface.co{TREE}&cursor=a%3D>; rel=\"next\"");
    let page = json(&format!("[{}]", entry("m.gguf", ABC, ABC))).header("link", &next);
    mirror.on(&format!("GET {TREE}"), [page.clone()]);
    mirror.on(&format!("GET {TREE}&cursor=a%3D"), [page]);
    let output = fetch(&mirror.url, folder.path()).await;
    let code = i32::from(FailureClass::InvalidListing.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("its pages do not end"), "{stderr}");
    assert!(!is_published(folder.path()));
}

#[tokio::test]
async fn masked_digests_are_reported_as_gated_with_advice() {
    let (mirror, folder) = (mirror("").await, tempfile::tempdir().unwrap());
    let listed = json(&format!("[{}]", entry("m.gguf", MASKED, MASKED)));
    mirror.on(&format!("GET {TREE}"), [listed]);
    let output = fetch(&mirror.url, folder.path()).await;
    let code = i32::from(FailureClass::AccessDenied.exit_code());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = format!(
        "gated, and the hub hides the digests of its files: accept its terms at {}/org/name",
        mirror.url
    );
    assert!(stderr.contains(&expected), "{stderr}");
}

#[rstest]
#[case::revision(404, "RevisionNotFound", "", FailureClass::RevisionNotFound)]
#[case::repository(404, "RepoNotFound", "", FailureClass::RepositoryNotFound)]
#[case::repository_or_private(401, "RepoNotFound", "", FailureClass::RepositoryNotFound)]
#[case::unauthenticated(401, "", "Invalid username or password.", FailureClass::RepositoryNotFound)]
#[case::gated(403, "GatedRepo", "", FailureClass::AccessDenied)]
#[case::gated_for_strangers(401, "GatedRepo", "", FailureClass::AccessDenied)]
#[case::token(
    401,
    "",
    "Invalid credentials in Authorization header",
    FailureClass::AuthenticationFailed
)]
#[case::disabled(403, "", "Access to this resource is disabled.", FailureClass::AccessDenied)]
#[case::scope(403, "", "", FailureClass::AccessDenied)]
#[case::legal(451, "", "", FailureClass::AccessDenied)]
#[tokio::test]
async fn a_refusal_ends_the_run_at_once_with_its_class(
    #[case] status: u16,
    #[case] code: &str,
    #[case] message: &str,
    #[case] class: FailureClass,
) {
    let (mirror, folder) = (mirror("").await, tempfile::tempdir().unwrap());
    let refusal = answer(status)
        .header("x-error-code", code)
        .header("x-error-message", message);
    let line = "GET /api/models/org/name/revision/main";
    mirror.on(line, [refusal]);
    let output = fetch(&mirror.url, folder.path()).await;
    assert_eq!(output.status.code(), Some(i32::from(class.exit_code())), "{output:?}");
    assert_eq!(mirror.count(line), 1);
}
