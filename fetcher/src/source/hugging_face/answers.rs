//! Turns the hub's error responses into errors with advice. Pure.

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::address::{Endpoint, RepoId};
use crate::http::redact::SecretUrl;
use crate::http::retry;
use crate::model::error::SourceError;
use crate::model::path::FilePath;

/// The request that failed, for the message.
pub(super) struct RequestContext<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a str,
    /// The requested file, if any.
    pub(super) file: Option<&'a FilePath>,
    /// Whether a token was sent.
    pub(super) with_token: bool,
    pub(super) url: &'a SecretUrl,
}

/// Longest quote of a server's error message.
const MAX_QUOTE_CHARS: usize = 200;

/// The error for a response without success. The body is empty for HEAD.
pub(super) fn response_error(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    context: &RequestContext<'_>,
    now: Timestamp,
) -> SourceError {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let code = header("x-error-code");
    let said = match header("x-error-message") {
        "" => error_text(body),
        text => text.to_owned(),
    };
    let class = classify(status, code, &said, context.file.is_some());
    let message = explain(class, status, &said, context);
    SourceError::new(class, message).with_retry_after(retry::retry_after(headers, now))
}

fn classify(status: StatusCode, code: &str, said: &str, is_file: bool) -> FailureClass {
    let said = said.to_ascii_lowercase();
    match code {
        "RevisionNotFound" => return FailureClass::RevisionNotFound,
        "EntryNotFound" => return FailureClass::FileNotFound,
        "GatedRepo" => return FailureClass::AccessDenied,
        "RepoNotFound" => return FailureClass::RepositoryNotFound,
        _ => {}
    }
    if said.starts_with("access to this resource is disabled") {
        return FailureClass::AccessDenied;
    }
    match status {
        StatusCode::UNAUTHORIZED if said.starts_with("invalid credentials in authorization header") => {
            FailureClass::AuthenticationFailed
        }
        StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => FailureClass::AccessDenied,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => FailureClass::SourceUnreachable,
        StatusCode::NOT_FOUND | StatusCode::GONE if is_file => FailureClass::FileNotFound,
        StatusCode::NOT_FOUND | StatusCode::GONE if said.contains("invalid rev") => FailureClass::RevisionNotFound,
        // Without access, the hub hides whether a repository exists.
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED => FailureClass::RepositoryNotFound,
        StatusCode::TOO_MANY_REQUESTS => FailureClass::RateLimited,
        _ => FailureClass::SourceError,
    }
}

fn explain(class: FailureClass, status: StatusCode, said: &str, context: &RequestContext<'_>) -> String {
    let RequestContext {
        endpoint,
        repo,
        revision,
        url,
        ..
    } = context;
    let page = endpoint.page(repo);
    let is_disabled = said
        .to_ascii_lowercase()
        .starts_with("access to this resource is disabled");
    match class {
        FailureClass::RepositoryNotFound if context.with_token => format!(
            "the hub {endpoint} has no repository {repo}, or it is private and the token may not read it: check the \
             name (source.huggingFace.repo), and whose token it is"
        ),
        FailureClass::RepositoryNotFound => format!(
            "the hub {endpoint} has no repository {repo}, or it is private: check the name (source.huggingFace.repo), \
             or give a token that may read it (tokenSecretRef, HF_TOKEN)"
        ),
        FailureClass::RevisionNotFound => format!(
            "{repo} has no revision {revision}: check it (source.huggingFace.revision) against the branches, tags and \
             commits at {page}/commits"
        ),
        FailureClass::FileNotFound => format!(
            "{repo} lists the file at commit {revision}, but the hub does not have it{}; a mirror may be out of date: \
             use another endpoint, or exclude the file",
            quoted(said)
        ),
        FailureClass::AuthenticationFailed => format!(
            "the hub {endpoint} rejects the token: it is wrong, expired or from another hub; put a valid one into the \
             Secret (tokenSecretRef) or HF_TOKEN"
        ),
        FailureClass::AccessDenied if is_disabled => {
            format!(
                "the hub {endpoint} has disabled {repo}{}; use another model",
                quoted(said)
            )
        }
        FailureClass::AccessDenied if context.with_token => format!(
            "the token may not read {repo}{}: accept its terms at {page} with the token's account, and give the token \
             the right to read gated repositories",
            quoted(said)
        ),
        FailureClass::AccessDenied => format!(
            "{repo} is gated or private{}: accept its terms at {page}, and give a token of that account \
             (tokenSecretRef, HF_TOKEN)",
            quoted(said)
        ),
        FailureClass::RateLimited => format!(
            "the hub {endpoint} limits the request rate{}; the fetcher tries again later, and a token raises the limit",
            quoted(said)
        ),
        FailureClass::SourceUnreachable => {
            format!("the proxy refuses {url} ({status}): check the proxy variables and its credentials")
        }
        _ => format!(
            "{url} returned {status}{}; the hub or a proxy in front of it failed",
            quoted(said)
        ),
    }
}

/// The server's error message: `error`, or the first `errors[].message`; empty if there is none.
fn error_text(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return String::new();
    };
    let text = value["error"]
        .as_str()
        .or_else(|| value["errors"][0]["message"].as_str());
    text.unwrap_or_default().to_owned()
}

/// Formats a server's message as a quote: short, on one line, and marked as the server's.
fn quoted(said: &str) -> String {
    let line: String = said
        .chars()
        .take(MAX_QUOTE_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = line.trim().trim_end_matches('.');
    if line.is_empty() {
        String::new()
    } else {
        format!(" (it says: {line})")
    }
}

/// Reads any error response, for the fuzz targets.
///
/// Asserts that the message is one short line, and does not contain the URL's signature.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_anything(status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let (Ok(endpoint), Ok(address), Ok(path), Ok(url)) = (
        "https://hub".parse(),
        "org/name@v9".parse::<super::address::ModelAddress>(),
        FilePath::parse("config.json"),
        "https://hub/api?signature=s3cret".parse(),
    ) else {
        return;
    };
    let url = SecretUrl::new(url);
    for (file, with_token) in [(None, false), (Some(&path), true)] {
        let context = RequestContext {
            endpoint: &endpoint,
            repo: &address.repo,
            revision: address.revision.as_str(),
            file,
            with_token,
            url: &url,
        };
        let error = response_error(status, headers, body, &context, Timestamp::UNIX_EPOCH);
        assert!(!error.message.chars().any(char::is_control), "{error}");
        assert!(error.message.chars().count() < 400 + MAX_QUOTE_CHARS, "{error}");
        let said = headers
            .get("x-error-message")
            .map(reqwest::header::HeaderValue::as_bytes);
        let has_secret = |text: &[u8]| text.windows(6).any(|part| part == b"s3cret");
        assert!(has_secret(body) || said.is_some_and(has_secret) || !has_secret(error.message.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;
    use crate::source::hugging_face::address::ModelAddress;

    fn error_for(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
        file: bool,
        with_token: bool,
    ) -> SourceError {
        let endpoint = "https://hub".parse().unwrap();
        let address: ModelAddress = "org/name@v9".parse().unwrap();
        let path = FilePath::parse("config.json").unwrap();
        let url = SecretUrl::new("https://hub/api?secret=1".parse().unwrap());
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let context = RequestContext {
            endpoint: &endpoint,
            repo: &address.repo,
            revision: address.revision.as_str(),
            file: file.then_some(&path),
            with_token,
            url: &url,
        };
        let status = StatusCode::from_u16(status).unwrap();
        response_error(
            status,
            &headers.collect(),
            body.as_bytes(),
            &context,
            Timestamp::UNIX_EPOCH,
        )
    }

    const REPO: &[(&str, &str)] = &[
        ("x-error-code", "RepoNotFound"),
        ("x-error-message", "Repository not found"),
    ];
    const REVISION: &[(&str, &str)] = &[
        ("x-error-code", "RevisionNotFound"),
        ("x-error-message", "Invalid rev id: v9"),
    ];
    const ENTRY: &[(&str, &str)] = &[
        ("x-error-code", "EntryNotFound"),
        ("x-error-message", "Entry not found"),
    ];
    const GATED: &[(&str, &str)] = &[
        ("x-error-code", "GatedRepo"),
        ("x-error-message", "Access to model org/name is restricted."),
    ];
    const WRONG_TOKEN: &[(&str, &str)] = &[("x-error-message", "Invalid credentials in Authorization header")];
    const DISABLED: &[(&str, &str)] = &[("x-error-message", "Access to this resource is disabled.")];

    #[rstest]
    #[case::no_repository(
        404,
        REPO,
        "",
        "hub https://hub has no repository org/name, or it is private: check the name (source.huggingFace.repo), or give a token"
    )]
    #[case::no_repository_or_no_access(401, REPO, "", "has no repository org/name, or it is private")]
    #[case::no_code(401, &[], r#"{"error":"Invalid username or password."}"#, "has no repository org/name")]
    #[case::a_mirror_without_codes(404, &[], "<html>", "has no repository org/name")]
    fn a_repository_that_is_not_there(
        #[case] status: u16,
        #[case] headers: &[(&'static str, &'static str)],
        #[case] body: &str,
        #[case] expected: &str,
    ) {
        let error = error_for(status, headers, body, false, false);
        assert_eq!(error.class, FailureClass::RepositoryNotFound);
        assert!(error.message.contains(expected), "{error}");
    }

    #[rstest]
    #[case(
        404,
        REVISION,
        "",
        false,
        FailureClass::RevisionNotFound,
        "org/name has no revision v9"
    )]
    #[case(404, &[], r#"{"error":"Invalid rev id: v9"}"#, false, FailureClass::RevisionNotFound, "no revision v9")]
    #[case(404, ENTRY, "", true, FailureClass::FileNotFound, "does not have it")]
    #[case(404, &[], "", true, FailureClass::FileNotFound, "does not have it")]
    #[case(
        403,
        GATED,
        "",
        false,
        FailureClass::AccessDenied,
        "accept its terms at https://hub/org/name, and give a token"
    )]
    #[case(
        401,
        GATED,
        "",
        true,
        FailureClass::AccessDenied,
        "accept its terms at https://hub/org/name"
    )]
    #[case(403, DISABLED, "", false, FailureClass::AccessDenied, "has disabled org/name")]
    #[case(403, &[], "", false, FailureClass::AccessDenied, "org/name is gated or private")]
    #[case(401, WRONG_TOKEN, "", false, FailureClass::AuthenticationFailed, "rejects the token")]
    #[case(401, &[], r#"{"error":"Invalid credentials in Authorization header"}"#, false, FailureClass::AuthenticationFailed, "rejects the token")]
    #[case(429, &[], "", false, FailureClass::RateLimited, "limits the request rate")]
    #[case(500, &[], r#"{"error":"Internal\nError"}"#, false, FailureClass::SourceError, "https://hub/api?… returned 500 Internal Server Error (it says: Internal Error)")]
    #[case(503, &[], "<html>", false, FailureClass::SourceError, "returned 503 Service Unavailable;")]
    #[case(400, &[], "", false, FailureClass::SourceError, "returned 400 Bad Request")]
    #[case(407, &[], "", false, FailureClass::SourceUnreachable, "the proxy refuses")]
    fn a_refusal(
        #[case] status: u16,
        #[case] headers: &[(&'static str, &'static str)],
        #[case] body: &str,
        #[case] is_file: bool,
        #[case] class: FailureClass,
        #[case] expected: &str,
    ) {
        let error = error_for(status, headers, body, is_file, false);
        assert_eq!(error.class, class, "{error}");
        assert!(error.message.contains(expected), "{error}");
        assert!(!error.message.contains("secret"), "{error}");
    }

    #[test]
    fn with_a_token_the_advice_differs() {
        assert!(
            error_for(404, REPO, "", false, true)
                .message
                .contains("whose token it is")
        );
        assert!(
            error_for(403, GATED, "", false, true)
                .message
                .contains("the token may not read org/name")
        );
    }

    #[test]
    fn the_pause_the_hub_asks_for_is_kept() {
        let error = error_for(429, &[("retry-after", "17")], "", false, false);
        assert_eq!(error.retry_after, Some(Duration::from_secs(17)));
    }
}
