//! The `resolve` endpoint: sends small files, redirects large ones to a signed URL of the CDN.

use axum::http::StatusCode;
use axum::http::header::{ACCEPT_RANGES, ETAG, LINK, LOCATION, VARY};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::access::Wanted;
use super::answer::{self, Refusal, X_LINKED_ETAG, X_LINKED_SIZE, X_REPO_COMMIT, X_XET_HASH, set};
use super::body;
use super::faults::{Effects, Fault};
use super::listing::{host, xet_hash};
use super::model::{Storage, StoredFile};
use super::route::{encode_path, query_parameter};
use super::state::{Found, State};
use super::stats::Record;

pub(crate) async fn file(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    record: &std::sync::Arc<Record>,
    model: &str,
    revision: &str,
    path: &str,
) -> Response {
    let found = match state.find(&parts.headers, model, revision, Wanted::File) {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let Some(file) = found.commit.files.get(path) else {
        return not_found(&found, path);
    };
    let etag = etag(file, effects);
    let mut response = match file.storage {
        Storage::Large => redirect_to_cdn(state, parts, model, &found, file, &etag),
        Storage::Git if effects.has(&Fault::ResolveCache) => {
            let mut response = answer::empty(StatusCode::TEMPORARY_REDIRECT);
            let place = format!(
                "/api/resolve-cache/models/{model}/{}/{}?etag=%22{}%22",
                found.commit.id,
                encode_path(path),
                file.git_sha1
            );
            set(&mut response, LOCATION, place);
            response
        }
        Storage::Git => body::answer(state, parts, effects, record, file).await,
    };
    set(&mut response, ETAG, &etag);
    set(&mut response, X_REPO_COMMIT, &found.commit.id);
    set(&mut response, VARY, "Origin, Accept");
    response
}

/// The target of a redirect to a small file; the query is required.
pub(crate) async fn cached(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    record: &std::sync::Arc<Record>,
    model: &str,
    commit: &str,
    path: &str,
) -> Response {
    let found = match state.find(&parts.headers, model, commit, Wanted::File) {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let Some(file) = found.commit.files.get(path) else {
        return not_found(&found, path);
    };
    let etag = etag(file, effects);
    if query_parameter(parts.uri.query(), "etag").as_deref() != Some(etag.as_str()) {
        return Refusal::new(StatusCode::BAD_REQUEST, None, "the etag parameter is missing or wrong").into_response();
    }
    let mut response = body::answer(state, parts, effects, record, file).await;
    set(&mut response, ETAG, &etag);
    set(&mut response, X_REPO_COMMIT, &found.commit.id);
    response
}

fn redirect_to_cdn(
    state: &State,
    parts: &Parts,
    model: &str,
    found: &Found,
    file: &StoredFile,
    etag: &str,
) -> Response {
    let host = host(&parts.headers);
    let mut response = answer::empty(StatusCode::FOUND);
    set(&mut response, LOCATION, state.signer.sign(host, model, file));
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, X_LINKED_SIZE, file.size.to_string());
    set(&mut response, X_LINKED_ETAG, etag);
    if state.xet_headers {
        let hash = xet_hash(file);
        let links = format!(
            "<http://{host}/api/models/{model}/xet-read-token/{}>; rel=\"xet-auth\", \
             <http://{host}/v1/reconstructions/{hash}>; rel=\"xet-reconstruction-info\"",
            found.commit.id
        );
        set(&mut response, X_XET_HASH, hash);
        set(&mut response, LINK, links);
    }
    response
}

fn etag(file: &StoredFile, effects: &Effects) -> String {
    let digest = file.listed_digest();
    if effects.has(&Fault::OtherEtag) {
        // Another digest of the same kind.
        let other: String = digest.chars().rev().collect();
        return format!("\"{other}\"");
    }
    format!("\"{digest}\"")
}

fn not_found(found: &Found, path: &str) -> Response {
    let mut response = Refusal::new(
        StatusCode::NOT_FOUND,
        Some("EntryNotFound"),
        format!("Entry not found: {path}"),
    )
    .into_response();
    set(&mut response, X_REPO_COMMIT, &found.commit.id);
    response
}
