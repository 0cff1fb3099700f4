//! The admin API, JSON under `/_admin/`: faults, throughput, statistics, models, tokens.

use std::path::PathBuf;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::access::Access;
use super::answer::{self, Refusal};
use super::faults::Rule;
use super::model::{RepositoryError, folder_contents};
use super::state::State;

/// Limit of a request body, far above what this API needs.
const MAX_BODY_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Throughput {
    bytes_per_second: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderCommit {
    model: String,
    #[serde(default = "main_branch")]
    branch: String,
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BranchMove {
    model: String,
    branch: String,
    commit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessChange {
    model: String,
    access: Access,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    token: String,
    #[serde(default)]
    models: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RuleOrRules {
    One(Rule),
    Many(Vec<Rule>),
}

fn main_branch() -> String {
    "main".to_owned()
}

pub(crate) async fn answer(state: &State, path: &str, request: Request) -> Response {
    act(state, path, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn act(state: &State, path: &str, request: Request) -> Result<Response, Refusal> {
    let method = request.method().clone();
    match (method, path) {
        (Method::GET, "stats") => return Ok(Json(state.stats.snapshot()).into_response()),
        (Method::DELETE, "stats") => state.stats.reset(),
        (Method::GET, "faults") => return Ok(Json(state.faults.list()).into_response()),
        (Method::POST, "faults") => match body(request).await? {
            RuleOrRules::One(rule) => state.faults.add(rule),
            RuleOrRules::Many(rules) => rules.into_iter().for_each(|rule| state.faults.add(rule)),
        },
        (Method::DELETE, "faults") => state.faults.clear(),
        (Method::PUT, "throughput") => {
            let throughput: Throughput = body(request).await?;
            state.pacer.set(throughput.bytes_per_second);
        }
        (Method::GET, "models") => return Ok(Json(state.models()).into_response()),
        (Method::POST, "commits") => {
            let commit: FolderCommit = body(request).await?;
            let files = folder_contents(&commit.folder).map_err(|error| unusable(&error))?;
            let id = state
                .commit(&commit.model, &commit.branch, files)
                .await
                .map_err(|error| unusable(&error))?;
            return Ok(Json(json!({ "commit": id })).into_response());
        }
        (Method::PUT, "branches") => {
            let change: BranchMove = body(request).await?;
            state
                .move_branch(&change.model, &change.branch, &change.commit)
                .map_err(|error| unusable(&error))?;
        }
        (Method::PUT, "access") => {
            let change: AccessChange = body(request).await?;
            state
                .set_access(&change.model, change.access)
                .map_err(|error| unusable(&error))?;
        }
        (Method::POST, "tokens") => {
            let grant: Grant = body(request).await?;
            state.grant(&grant.token, grant.models.into_iter());
        }
        _ => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                None,
                "the admin API has stats, faults, throughput, models, commits, branches, access and tokens",
            ));
        }
    }
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let wrong = |error: &dyn std::fmt::Display| Refusal::new(StatusCode::BAD_REQUEST, None, error.to_string());
    let bytes = to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(|error| wrong(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(&error))
}

fn unusable(error: &RepositoryError) -> Refusal {
    let status = match error {
        RepositoryError::Read { .. } => StatusCode::BAD_REQUEST,
        RepositoryError::NoModel(_) | RepositoryError::NoCommit { .. } => StatusCode::NOT_FOUND,
    };
    Refusal::new(status, None, error.to_string())
}
