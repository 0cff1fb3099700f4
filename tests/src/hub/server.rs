//! The two listeners. They count each request, inject the faults of the matching rules, and answer it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::header::{CONTENT_TYPE, LOCATION, RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::answer::{self, Refusal};
use super::faults::{Effects, Fault, Stage};
use super::listener::{SeverableListener, Severer};
use super::listing;
use super::route::Route;
use super::state::State;
use super::{admin, cdn, model_scope, resolve};

const MAX_FORM_BYTES: usize = 1 << 20;

pub(crate) fn spawn_hub(listener: SeverableListener, state: Arc<State>) {
    let stopped = state.stopped.clone();
    let router = Router::new().fallback(answer_hub).with_state(state);
    let service = router.into_make_service_with_connect_info::<Severer>();
    tokio::spawn(async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(stopped.cancelled_owned())
            .await
    });
}

pub(crate) fn spawn_cdn(listener: SeverableListener, state: Arc<State>) {
    let stopped = state.stopped.clone();
    let router = Router::new().fallback(answer_cdn).with_state(state);
    let service = router.into_make_service_with_connect_info::<Severer>();
    tokio::spawn(async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(stopped.cancelled_owned())
            .await
    });
}

async fn answer_hub(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(severer): ConnectInfo<Severer>,
    request: Request,
) -> Response {
    let route = Route::parse(request.uri().path());
    if let Route::Admin { path } = route {
        return admin::answer(&state, &path, request).await;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let (part, subject) = (route.stage(), route.subject(&path));
    let effects = state.faults.select(part, &parts.method, subject, range(&parts));
    let record = state.stats.begin(part, &parts.method, subject, &parts.headers);
    let response = match common_fault(&state, &severer, &parts.uri, &effects).await {
        Some(response) => response,
        None => match &route {
            Route::Info { model, revision } => listing::information(&state, &parts, model, revision),
            Route::References { model } => listing::references(&state, &parts, model),
            Route::Tree {
                model,
                revision,
                folder,
            } => listing::tree(&state, &parts, &effects, model, revision, folder),
            Route::Resolve { model, revision, path } => {
                resolve::file(&state, &parts, &effects, &record, model, revision, path).await
            }
            Route::ResolveCache { model, commit, path } => {
                resolve::cached(&state, &parts, &effects, &record, model, commit, path).await
            }
            Route::Paths { model, revision } => {
                let form = to_bytes(body, MAX_FORM_BYTES).await.unwrap_or_default();
                listing::paths(&state, &parts, &effects, model, revision, &form)
            }
            Route::ModelScope { model, question } => {
                model_scope::answer(&state, &parts, &effects, &record, model, *question).await
            }
            Route::Admin { .. } | Route::Unknown => Refusal::new(
                StatusCode::NOT_FOUND,
                None,
                "Sorry, we can't find the page you are looking for.",
            )
            .into_response(),
        },
    };
    record.answered(response.status().as_u16());
    response
}

async fn answer_cdn(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(severer): ConnectInfo<Severer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let file = cdn::digest_in(parts.uri.path()).and_then(|sha256| state.large_file(sha256));
    let subject = file.as_ref().map_or(parts.uri.path(), |file| &file.path).to_owned();
    let effects = state.faults.select(Stage::Cdn, &parts.method, &subject, range(&parts));
    let record = state.stats.begin(Stage::Cdn, &parts.method, &subject, &parts.headers);
    let response = match common_fault(&state, &severer, &parts.uri, &effects).await {
        Some(response) => response,
        None => cdn::answer(&state, &parts, &effects, &record, file).await,
    };
    record.answered(response.status().as_u16());
    response
}

fn range(parts: &Parts) -> Option<&str> {
    parts.headers.get(RANGE).and_then(|range| range.to_str().ok())
}

/// Injects the faults that do not depend on the kind of request; a response replaces the normal one.
async fn common_fault(state: &State, severer: &Severer, uri: &Uri, effects: &Effects) -> Option<Response> {
    for injection in effects.all() {
        match injection.fault() {
            Fault::Latency { milliseconds } => {
                injection.record();
                tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
            }
            Fault::MoveBranch { model, branch, commit } => {
                injection.record();
                if let Err(error) = state.move_branch(model, branch, commit) {
                    return Some(
                        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, None, error.to_string()).into_response(),
                    );
                }
            }
            Fault::Refuse => {
                injection.record();
                severer.sever();
                return Some(answer::empty(StatusCode::SERVICE_UNAVAILABLE));
            }
            Fault::Status { status, headers, body } => {
                injection.record();
                let mut response = Response::new(Body::from(body.clone()));
                *response.status_mut() = status_code(*status);
                for (name, value) in headers {
                    if let Ok(name) = HeaderName::try_from(name) {
                        answer::set(&mut response, name, value);
                    }
                }
                return Some(response);
            }
            Fault::Html { status } => {
                injection.record();
                let page = "<!DOCTYPE html>\n<html><body><h1>Please sign in to this network</h1></body></html>\n";
                return Some(
                    (status_code(*status), [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
                );
            }
            Fault::RedirectLoop => {
                injection.record();
                let mut response = answer::empty(StatusCode::FOUND);
                answer::set(
                    &mut response,
                    LOCATION,
                    uri.path_and_query().map_or("/", |path| path.as_str()),
                );
                return Some(response);
            }
            _ => {}
        }
    }
    None
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
