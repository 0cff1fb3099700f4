//! Model information, branches, and listings in pages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::http::header::{HOST, LINK};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::access::{Access, GatedListing, Visibility, Wanted};
use super::answer::{Refusal, X_REPO_COMMIT, set};
use super::faults::{Effects, Fault};
use super::model::{Commit, Storage, StoredFile, git_object_sha1};
use super::route::query_parameter;
use super::state::{Found, State};

const HIDDEN: &str = "****************************************************************";

pub(crate) fn information(state: &State, parts: &Parts, model: &str, revision: &str) -> Response {
    // The page of a gated model is public.
    let found = match state.find(&parts.headers, model, revision, Wanted::Listing) {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let siblings: Vec<Value> = found
        .commit
        .files
        .keys()
        .map(|path| json!({ "rfilename": path }))
        .collect();
    let gated = matches!(found.access, Access::Gated(_));
    let mut response = Json(json!({
        "_id": &git_object_sha1("model", model.as_bytes())[..24],
        "id": model,
        "modelId": model,
        "author": model.split_once('/').map(|(author, _)| author),
        "sha": found.commit.id,
        "private": found.access == Access::Private,
        "gated": if gated { json!("manual") } else { json!(false) },
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "createdAt": "2022-03-02T23:29:05.000Z",
        "lastModified": "2024-11-01T10:26:30.000Z",
    }))
    .into_response();
    set(&mut response, X_REPO_COMMIT, &found.commit.id);
    response
}

pub(crate) fn references(state: &State, parts: &Parts, model: &str) -> Response {
    match state.references(&parts.headers, model) {
        Ok(references) => {
            let branches: Vec<Value> = references
                .iter()
                .map(|(name, commit)| json!({ "name": name, "ref": format!("refs/heads/{name}"), "targetCommit": commit }))
                .collect();
            Json(json!({ "branches": branches, "converts": [], "tags": [] })).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

pub(crate) fn tree(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    model: &str,
    revision: &str,
    folder: &str,
) -> Response {
    let found = match state.find(&parts.headers, model, revision, Wanted::Listing) {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let hidden = is_hidden(&found, effects);
    let query = parts.uri.query();
    let recursive = query_parameter(query, "recursive").is_some_and(|value| matches!(&*value, "true" | "True" | "1"));
    let mut entries = entries(&found.commit, folder, recursive, |file| {
        hashes(state, &found, hidden, file)
    });
    if entries.is_empty() && !folder.is_empty() {
        return Refusal::new(
            StatusCode::NOT_FOUND,
            Some("EntryNotFound"),
            format!("{folder} does not exist"),
        )
        .into_response();
    }
    for injection in effects.all() {
        if let Fault::ExtraPath { path } = injection.fault() {
            injection.record();
            entries.push(json!({ "type": "file", "path": path, "size": 1, "oid": git_object_sha1("blob", b"x") }));
        }
    }

    let start = query_parameter(query, "cursor")
        .and_then(|cursor| usize::from_str_radix(&cursor, 16).ok())
        .unwrap_or(0)
        .min(entries.len());
    let limit = query_parameter(query, "limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(usize::MAX);
    let end = start.saturating_add(state.page_size.min(limit)).min(entries.len());
    let page = if effects.has(&Fault::DropPage) {
        &[]
    } else {
        &entries[start..end]
    };
    let mut response = Json(page).into_response();
    set(&mut response, X_REPO_COMMIT, &found.commit.id);
    if end < entries.len() && !effects.has(&Fault::DropNext) {
        let link = format!("<{}>; rel=\"next\"", next_page(parts, end));
        set(&mut response, LINK, link);
    }
    response
}

/// Entries of the files that the form in the body names.
pub(crate) fn paths(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    model: &str,
    revision: &str,
    form: &[u8],
) -> Response {
    let found = match state.find(&parts.headers, model, revision, Wanted::Listing) {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let hidden = is_hidden(&found, effects);
    let entries: Vec<Value> = url::form_urlencoded::parse(form)
        .filter(|(key, _)| key == "paths")
        .filter_map(|(_, path)| found.commit.files.get(&*path))
        .map(|file| file_entry(file, &hashes(state, &found, hidden, file)))
        .collect();
    let mut response = Json(entries).into_response();
    set(&mut response, X_REPO_COMMIT, &found.commit.id);
    response
}

/// URL of the rest of the listing, from the entry `start` on. The cursor is opaque to clients.
fn next_page(parts: &Parts, start: usize) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        if key != "cursor" {
            query.append_pair(&key, &value);
        }
    }
    query.append_pair("cursor", &format!("{start:08x}"));
    format!("http://{}{}?{}", host(&parts.headers), parts.uri.path(), query.finish())
}

/// Host and port from the client's Host header.
pub(crate) fn host(headers: &HeaderMap) -> &str {
    headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost")
}

struct Hashes {
    hidden: bool,
    xet: Option<String>,
}

fn is_hidden(found: &Found, effects: &Effects) -> bool {
    found.visibility == Visibility::HashesHidden || effects.has(&Fault::HiddenHashes)
}

fn hashes(state: &State, found: &Found, hidden: bool, file: &StoredFile) -> Hashes {
    let gated = matches!(
        found.access,
        Access::Gated(GatedListing::Open | GatedListing::HashesHidden)
    );
    Hashes {
        hidden,
        xet: state.xet_headers.then(|| {
            if hidden || gated {
                HIDDEN.to_owned()
            } else {
                xet_hash(file)
            }
        }),
    }
}

/// Lists the files and folders in a folder, or below it if `recursive`.
pub(crate) fn walk<'a>(
    commit: &'a Commit,
    folder: &str,
    recursive: bool,
) -> (Vec<&'a Arc<StoredFile>>, BTreeSet<String>) {
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let mut directories = BTreeSet::new();
    let mut files = Vec::new();
    for (path, file) in &commit.files {
        let Some(below) = path.strip_prefix(&prefix) else {
            continue;
        };
        let folders: Vec<usize> = below.match_indices('/').map(|(at, _)| prefix.len() + at).collect();
        directories.extend(
            folders
                .iter()
                .take(if recursive { usize::MAX } else { 1 })
                .map(|end| path[..*end].to_owned()),
        );
        if recursive || folders.is_empty() {
            files.push(file);
        }
    }
    (files, directories)
}

fn entries(commit: &Commit, folder: &str, recursive: bool, hashes: impl Fn(&StoredFile) -> Hashes) -> Vec<Value> {
    let (files, directories) = walk(commit, folder, recursive);
    let mut entries: BTreeMap<String, Value> = files
        .into_iter()
        .map(|file| (file.path.clone(), file_entry(file, &hashes(file))))
        .collect();
    for directory in directories {
        let oid = git_object_sha1("tree", directory.as_bytes());
        let entry = json!({ "type": "directory", "oid": oid, "size": 0, "path": directory });
        entries.insert(directory, entry);
    }
    entries.into_values().collect()
}

fn file_entry(file: &StoredFile, hashes: &Hashes) -> Value {
    let shown = |hash: &str| {
        if hashes.hidden {
            HIDDEN.to_owned()
        } else {
            hash.to_owned()
        }
    };
    let mut entry = json!({ "type": "file", "oid": shown(&file.git_sha1), "size": file.size, "path": file.path });
    if file.storage == Storage::Large {
        entry["lfs"] = json!({ "oid": shown(&file.sha256), "size": file.size, "pointerSize": file.pointer_size });
        if let Some(xet) = &hashes.xet {
            entry["xetHash"] = json!(xet);
        }
    }
    entry
}

/// A hash of the form of a Xet hash, but not the real one, since there are no Xet servers.
pub(crate) fn xet_hash(file: &StoredFile) -> String {
    super::model::sha256_hex(&file.sha256)
}
