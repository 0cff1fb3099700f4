//! Routes of the hub.
//!
//! The name of a repository has one or two segments, and a revision is one segment with encoded slashes. So a path is
//! split before it is decoded.

use std::borrow::Cow;

use super::faults::Stage;
use super::model_scope::Question;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Model information at a revision.
    Info { model: String, revision: String },
    /// Branches and tags.
    References { model: String },
    /// Listing of a revision, or of a folder of it.
    Tree {
        model: String,
        revision: String,
        folder: String,
    },
    /// Some entries of the listing of a revision.
    Paths { model: String, revision: String },
    /// A file.
    Resolve {
        model: String,
        revision: String,
        path: String,
    },
    /// A small file at the target of a redirect.
    ResolveCache {
        model: String,
        commit: String,
        path: String,
    },
    /// A request of ModelScope's API.
    ModelScope { model: String, question: Question },
    /// The admin API.
    Admin { path: String },
    /// Anything else.
    Unknown,
}

impl Route {
    pub(crate) fn parse(path: &str) -> Self {
        let segments: Vec<String> = path.trim_start_matches('/').split('/').map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["_admin", rest @ ..] => Self::Admin { path: rest.join("/") },
            ["api", "resolve-cache", "models", rest @ ..] => resolve_cache(rest).unwrap_or(Self::Unknown),
            ["api", "v1", "models", owner, name, rest @ ..] => model_scope(owner, name, rest),
            ["api", "models", rest @ ..] => api(rest),
            rest => resolve(rest).unwrap_or(Self::Unknown),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Info { .. } => Stage::Info,
            Self::Tree { .. } | Self::Paths { .. } => Stage::Tree,
            Self::Resolve { .. } | Self::ResolveCache { .. } => Stage::Resolve,
            Self::ModelScope { question, .. } => match question {
                Question::Files => Stage::Tree,
                Question::File => Stage::Resolve,
                Question::Information | Question::Revisions => Stage::Info,
            },
            Self::References { .. } | Self::Admin { .. } | Self::Unknown => Stage::Other,
        }
    }

    /// The subject that fault rules match.
    pub(crate) fn subject<'a>(&'a self, path: &'a str) -> &'a str {
        match self {
            Self::Resolve { path, .. } | Self::ResolveCache { path, .. } => path,
            _ => path,
        }
    }
}

fn api(segments: &[&str]) -> Route {
    let marker = |name: &str| {
        segments
            .iter()
            .position(|segment| *segment == name)
            .filter(|at| (1..=2).contains(at))
    };
    let model = |at: usize| segments[..at].join("/");
    if let Some(at) = marker("tree").filter(|at| segments.len() > at + 1) {
        Route::Tree {
            model: model(at),
            revision: segments[at + 1].to_owned(),
            folder: segments[at + 2..].join("/"),
        }
    } else if let Some(at) = marker("paths-info").filter(|at| segments.len() == at + 2) {
        Route::Paths {
            model: model(at),
            revision: segments[at + 1].to_owned(),
        }
    } else if let Some(at) = marker("revision").filter(|at| segments.len() == at + 2) {
        Route::Info {
            model: model(at),
            revision: segments[at + 1].to_owned(),
        }
    } else if let Some(at) = marker("refs").filter(|at| segments.len() == at + 1) {
        Route::References { model: model(at) }
    } else if (1..=2).contains(&segments.len()) {
        Route::Info {
            model: segments.join("/"),
            revision: "main".to_owned(),
        }
    } else {
        Route::Unknown
    }
}

fn model_scope(owner: &str, name: &str, rest: &[&str]) -> Route {
    let question = match rest {
        [] => Question::Information,
        ["revisions"] => Question::Revisions,
        ["repo", "files"] => Question::Files,
        ["repo"] => Question::File,
        _ => return Route::Unknown,
    };
    Route::ModelScope {
        model: format!("{owner}/{name}"),
        question,
    }
}

fn resolve(segments: &[&str]) -> Option<Route> {
    let at = segments
        .iter()
        .position(|segment| *segment == "resolve")
        .filter(|at| (1..=2).contains(at) && segments.len() > at + 2)?;
    Some(Route::Resolve {
        model: segments[..at].join("/"),
        revision: segments[at + 1].to_owned(),
        path: segments[at + 2..].join("/"),
    })
}

fn resolve_cache(segments: &[&str]) -> Option<Route> {
    // The commit is the first segment of 40 hex digits after the name.
    let at = segments
        .iter()
        .position(|segment| segment.len() == 40 && segment.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .filter(|at| (1..=2).contains(at) && segments.len() > at + 1)?;
    Some(Route::ResolveCache {
        model: segments[..at].join("/"),
        commit: segments[at].to_owned(),
        path: segments[at + 1..].join("/"),
    })
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8_lossy()
        .into_owned()
}

/// The decoded value of a query parameter.
pub(crate) fn query_parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    url::form_urlencoded::parse(query?.as_bytes()).find_map(|(key, value)| (key == name).then_some(value))
}

/// Encodes a path except for its slashes.
pub(crate) fn encode_path(path: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(path, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parsed_as_on_the_hub() {
        let tree = |model: &str, revision: &str, folder: &str| Route::Tree {
            model: model.to_owned(),
            revision: revision.to_owned(),
            folder: folder.to_owned(),
        };
        let info = |model: &str, revision: &str| Route::Info {
            model: model.to_owned(),
            revision: revision.to_owned(),
        };
        let file = |model: &str, revision: &str, path: &str| Route::Resolve {
            model: model.to_owned(),
            revision: revision.to_owned(),
            path: path.to_owned(),
        };
        for (path, route) in [
            ("/api/models/org/name", info("org/name", "main")),
            ("/api/models/gpt2", info("gpt2", "main")),
            (
                "/api/models/org/name/revision/refs%2Fpr%2F3",
                info("org/name", "refs/pr/3"),
            ),
            ("/api/models/org/name/tree/main", tree("org/name", "main", "")),
            ("/api/models/gpt2/tree/v1%2F2/a%2Fb", tree("gpt2", "v1/2", "a/b")),
            (
                "/org/name/resolve/main/a%20b/c.json",
                file("org/name", "main", "a b/c.json"),
            ),
            ("/gpt2/resolve/main/resolve/x", file("gpt2", "main", "resolve/x")),
            ("/org/name/raw/main/x", Route::Unknown),
            (
                "/api/v1/models/org/name/repo/files",
                Route::ModelScope {
                    model: "org/name".to_owned(),
                    question: Question::Files,
                },
            ),
            (
                "/api/models/org/name/paths-info/main",
                Route::Paths {
                    model: "org/name".to_owned(),
                    revision: "main".to_owned(),
                },
            ),
            (
                "/_admin/stats",
                Route::Admin {
                    path: "stats".to_owned(),
                },
            ),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }
}
