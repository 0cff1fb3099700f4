//! Opens a model at ModelScope, or at a server with its API, with the token for that server.

use std::sync::Arc;

use reqwest::Client;
use secrecy::SecretString;

use super::{ModelScope, ModelScopeAddress};
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::API_RETRY;
use crate::source::access::{Access, variable};
use crate::source::hugging_face::{Endpoint, find_modelscope_token};
use crate::source::kind::{Opened, SourceKind};
use crate::store::SourceRecord;

impl SourceKind for ModelScopeAddress {
    fn open(&self, access: &Access, _progress: &Progress) -> Result<Opened, SourceError> {
        let token = find_modelscope_token(access.token_file.as_deref(), &variable)?;
        open(
            &access.modelscope_endpoint,
            self.clone(),
            token.as_ref(),
            access.api_client()?,
        )
    }

    fn record(&self, access: &Access, _revision: &str) -> SourceRecord {
        SourceRecord {
            source: self.to_string(),
            endpoint: Some(access.modelscope_endpoint.to_string()),
            region: None,
        }
    }

    fn reopen(&self, record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        match record.parsed_endpoint()? {
            Some(endpoint) if endpoint != access.modelscope_endpoint => {
                open(&endpoint, self.clone(), None, access.api_client()?)
            }
            _ => self.open(access, progress),
        }
    }
}

fn open(
    endpoint: &Endpoint,
    address: ModelScopeAddress,
    token: Option<&SecretString>,
    client: Client,
) -> Result<Opened, SourceError> {
    let origin = format!("{endpoint}/models/{}", address.repo);
    let source = ModelScope::new(endpoint.clone(), address, token, client, API_RETRY)?;
    Ok(Opened {
        source: Arc::new(source),
        origin,
    })
}
