//! Opens a model at a hub, with the token for that hub.

use std::sync::Arc;

use reqwest::Client;
use secrecy::SecretString;

use super::{Endpoint, HuggingFace, ModelAddress, find_token};
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::API_RETRY;
use crate::source::access::{Access, variable};
use crate::source::kind::{Opened, OwnLayout, SourceKind};
use crate::store::SourceRecord;

impl SourceKind for ModelAddress {
    fn open(&self, access: &Access, _progress: &Progress) -> Result<Opened, SourceError> {
        let token = find_token(access.token_file.as_deref(), &access.endpoint, &variable)?;
        open(&access.endpoint, self.clone(), token.as_ref(), access.api_client()?)
    }

    /// Records the commit, since a branch moves.
    fn record(&self, access: &Access, revision: &str) -> SourceRecord {
        SourceRecord {
            source: format!("hf://{}@{revision}", self.repo),
            endpoint: Some(access.endpoint.to_string()),
            region: None,
        }
    }

    fn reopen(&self, record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        match record.parsed_endpoint()? {
            Some(endpoint) if endpoint != access.endpoint => open(&endpoint, self.clone(), None, access.api_client()?),
            _ => self.open(access, progress),
        }
    }

    fn own_layout(&self) -> OwnLayout {
        OwnLayout::HubCache {
            repository: self.repo.to_string(),
            revision: self.revision.as_str().to_owned(),
        }
    }
}

/// Opens a model at a hub. The token must be for this hub.
pub(crate) fn open(
    endpoint: &Endpoint,
    address: ModelAddress,
    token: Option<&SecretString>,
    client: Client,
) -> Result<Opened, SourceError> {
    let origin = format!("{endpoint}/{}", address.repo);
    let source = HuggingFace::new(endpoint.clone(), address, token, client, API_RETRY)?;
    Ok(Opened {
        source: Arc::new(source),
        origin,
    })
}
