//! Access control: who may read which model, and the refusals of the real hub.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::answer::Refusal;

/// Who may read a model.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everybody.
    #[default]
    Public,
    /// Tokens with a grant; for others the model does not exist.
    Private,
    /// Files: tokens with a grant. Listing: as the value says.
    Gated(GatedListing),
    /// Nobody: the model is taken down.
    Disabled,
}

/// What the listing of a gated model shows without a grant.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum GatedListing {
    /// Everything.
    Open,
    /// Every hash as 64 asterisks.
    HashesHidden,
    /// Nothing: the hub refuses it like the files.
    Refused,
}

/// What a request wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Listing,
    File,
}

/// What a listing shows to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Everything,
    HashesHidden,
}

/// Valid tokens, each with the models granted to it.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<String, BTreeSet<String>>);

impl Tokens {
    pub(crate) fn grant(&mut self, token: &str, models: impl Iterator<Item = String>) {
        self.0.entry(token.to_owned()).or_default().extend(models);
    }

    /// Checks the credentials of a request, independent of the model.
    pub(crate) fn bearer(&self, headers: &HeaderMap) -> Result<Bearer<'_>, Refusal> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(Bearer::Nobody);
        };
        value
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("Bearer "))
            .and_then(|token| self.0.get(token))
            .map(Bearer::Granted)
            .ok_or_else(|| {
                Refusal::new(
                    StatusCode::UNAUTHORIZED,
                    None,
                    "Invalid credentials in Authorization header",
                )
            })
    }
}

/// Who sends a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bearer<'a> {
    Nobody,
    Granted(&'a BTreeSet<String>),
}

impl Bearer<'_> {
    pub(crate) fn visibility(self, model: &str, access: Access, wanted: Wanted) -> Result<Visibility, Refusal> {
        let granted = matches!(self, Self::Granted(models) if models.contains(model));
        match (access, wanted) {
            (Access::Disabled, _) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                None,
                "Access to this resource is disabled.",
            )),
            (Access::Public, _) | (Access::Gated(GatedListing::Open), Wanted::Listing) => Ok(Visibility::Everything),
            _ if granted => Ok(Visibility::Everything),
            (Access::Private, _) => Err(self.repository_not_found()),
            (Access::Gated(GatedListing::HashesHidden), Wanted::Listing) => Ok(Visibility::HashesHidden),
            (Access::Gated(_), _) => Err(self.gated(model)),
        }
    }

    /// The refusal for a missing or a private repository, which a client cannot distinguish.
    pub(crate) fn repository_not_found(self) -> Refusal {
        match self {
            Self::Nobody => Refusal::new(
                StatusCode::UNAUTHORIZED,
                Some("RepoNotFound"),
                "Invalid username or password.",
            ),
            Self::Granted(_) => Refusal::new(StatusCode::NOT_FOUND, Some("RepoNotFound"), "Repository not found"),
        }
    }

    fn gated(self, model: &str) -> Refusal {
        match self {
            Self::Nobody => Refusal::new(
                StatusCode::UNAUTHORIZED,
                Some("GatedRepo"),
                format!(
                    "Access to model {model} is restricted. You must have access to it and be authenticated to access it."
                ),
            ),
            Self::Granted(_) => Refusal::new(
                StatusCode::FORBIDDEN,
                Some("GatedRepo"),
                format!("Access to model {model} is restricted and you are not in the authorized list."),
            ),
        }
    }
}
