//! The same models through the API of ModelScope, including its quirks: ranges with status 200, small files that ignore
//! ranges, listings truncated without notice, and a token in either of two headers.

use std::sync::Arc;

use axum::Json;
use axum::http::header::{AUTHORIZATION, CONTENT_RANGE, COOKIE, RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::access::Wanted;
use super::answer::{Refusal, X_LINKED_ETAG, set};
use super::body;
use super::faults::Effects;
use super::listing::walk;
use super::model::{Storage, StoredFile};
use super::route::query_parameter;
use super::state::State;
use super::stats::Record;

/// Most entries of a listing, from ModelScope's own client.
const MAX_ENTRIES: usize = 3000;

const DEFAULT_REVISION: &str = "master";

/// What a request asks for about a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Its description.
    Information,
    /// Its branches.
    Revisions,
    /// Its files.
    Files,
    /// The bytes of one of them.
    File,
}

pub(crate) async fn answer(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    record: &Arc<Record>,
    model: &str,
    question: Question,
) -> Response {
    let revision = query_parameter(parts.uri.query(), "Revision");
    let revision = revision.as_deref().unwrap_or(DEFAULT_REVISION);
    match question {
        Question::Information => information(state, parts, model),
        Question::Revisions => revisions(state, parts, model),
        Question::Files => files(state, parts, model, revision),
        Question::File => file(state, parts, effects, record, model, revision).await,
    }
}

fn information(state: &State, parts: &Parts, model: &str) -> Response {
    match state.references(&parts.headers, model) {
        Ok(_) => data(&json!({"Path": model.split('/').next(), "Name": model.rsplit('/').next()})),
        Err(refused) => refusal_response(&refused),
    }
}

fn revisions(state: &State, parts: &Parts, model: &str) -> Response {
    match state.references(&parts.headers, model) {
        Ok(references) => {
            let branches: Vec<Value> = references
                .keys()
                .map(|name| json!({"Revision": name, "CreatedAt": 1_700_000_000}))
                .collect();
            data(&json!({"RevisionMap": {"Branches": branches, "Tags": []}}))
        }
        Err(refused) => refusal_response(&refused),
    }
}

fn files(state: &State, parts: &Parts, model: &str, revision: &str) -> Response {
    let found = match state.find(&parts.headers, model, revision, Wanted::Listing) {
        Ok(found) => found,
        Err(refused) => return refusal_response(&refused),
    };
    let query = parts.uri.query();
    let is_recursive = query_parameter(query, "Recursive").as_deref() == Some("True");
    let root = query_parameter(query, "Root").unwrap_or_default();
    let (files, folders) = walk(&found.commit, &root, is_recursive);
    let entry = |path: &str, rest: Value| {
        let mut entry = json!({
            "Name": path.rsplit('/').next(), "Path": path, "InCheck": false, "Revision": found.commit.id,
            "CommitMessage": "upload", "CommittedDate": 1_700_000_000, "CommitterName": "org",
        });
        if let (Value::Object(entry), Value::Object(rest)) = (&mut entry, rest) {
            entry.extend(rest);
        }
        entry
    };
    let folders = folders.iter().map(|path| {
        entry(
            path,
            json!({"Type": "tree", "Size": 0, "Sha256": "", "IsLFS": false, "Mode": "16384"}),
        )
    });
    let files = files.into_iter().map(|file| {
        let is_large = file.storage == Storage::Large;
        let rest =
            json!({"Type": "blob", "Size": file.size, "Sha256": file.sha256, "IsLFS": is_large, "Mode": "33188"});
        entry(&file.path, rest)
    });
    let listed: Vec<Value> = folders.chain(files).take(MAX_ENTRIES).collect();
    data(&json!({"Files": listed, "IsVisual": false}))
}

async fn file(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    record: &Arc<Record>,
    model: &str,
    revision: &str,
) -> Response {
    let path = query_parameter(parts.uri.query(), "FilePath").unwrap_or_default();
    let found = match state.find(&by_cookie(&parts.headers), model, revision, Wanted::File) {
        Ok(found) => found,
        Err(refused) => return refusal_response(&refused),
    };
    match found.commit.files.get(&*path) {
        Some(file) => bytes(state, parts, effects, record, file).await,
        None => refusal_response(&Refusal::new(
            StatusCode::NOT_FOUND,
            None,
            format!("the file {path} does not exist"),
        )),
    }
}

/// Sends the requested range with status 200: only `Content-Range` shows that it is a range.
async fn bytes(state: &State, parts: &Parts, effects: &Effects, record: &Arc<Record>, file: &StoredFile) -> Response {
    let mut parts = parts.clone();
    if file.storage == Storage::Git {
        parts.headers.remove(RANGE);
    }
    let mut response = body::answer(state, &parts, effects, record, file).await;
    if response.headers().contains_key(CONTENT_RANGE) && response.status().is_success() {
        *response.status_mut() = StatusCode::OK;
    }
    if file.storage == Storage::Large {
        set(&mut response, X_LINKED_ETAG, format!("\"{}\"", file.sha256));
    }
    response
}

/// Headers with the token of the cookie as the bearer token: file requests authenticate by cookie only.
fn by_cookie(headers: &HeaderMap) -> HeaderMap {
    let cookies = headers.get(COOKIE).and_then(|cookies| cookies.to_str().ok());
    let session = cookies.and_then(|cookies| {
        cookies
            .split(';')
            .find_map(|cookie| cookie.trim().strip_prefix("m_session_id="))
    });
    session
        .and_then(|session| HeaderValue::from_str(&format!("Bearer {session}")).ok())
        .map(|value| HeaderMap::from_iter([(AUTHORIZATION, value)]))
        .unwrap_or_default()
}

fn data(data: &Value) -> Response {
    Json(json!({"Code": 200, "Success": true, "Message": "success", "RequestId": "0", "Data": data})).into_response()
}

/// A refusal in the form of ModelScope.
fn refusal_response(refusal: &Refusal) -> Response {
    let status = refusal.status();
    let body = json!({
        "Code": status.as_u16(), "Success": false, "Message": refusal.message(), "RequestId": "0", "Data": null,
    });
    (status, Json(body)).into_response()
}
