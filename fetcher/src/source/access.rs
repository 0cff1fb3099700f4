//! How sources are reached: endpoints, credentials and trust, as a caller gives them.

use std::path::PathBuf;

use reqwest::Client;

use super::hugging_face::Endpoint;
use crate::http::client::{Trust, api_client};
use crate::model::error::SourceError;

/// How to reach sources of every kind; each kind reads what concerns it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Base URL of the Hugging Face Hub.
    pub(crate) endpoint: Endpoint,
    /// Base URL of ModelScope.
    pub(crate) modelscope_endpoint: Endpoint,
    /// Where buckets are.
    pub(crate) s3: S3Access,
    /// File that holds an access token.
    pub(crate) token_file: Option<PathBuf>,
    /// File of certificate authorities to trust beside those of the system.
    pub(crate) ca_certificate: Option<PathBuf>,
}

/// Where buckets are; what is unset is looked up as AWS's own tools do.
#[derive(Clone, Debug, Default)]
pub(crate) struct S3Access {
    /// Base URL of a server that speaks S3's protocol.
    pub(crate) endpoint: Option<String>,
    /// Region that signatures are for.
    pub(crate) region: Option<String>,
    /// Whether the bucket is part of the host name; unset, it is for AWS and is not for an endpoint.
    pub(crate) is_virtual_hosted: Option<bool>,
}

impl Access {
    /// The certificate authorities to trust beside those of the system.
    pub(crate) fn trust(&self) -> Result<Trust, SourceError> {
        self.ca_certificate
            .as_deref()
            .map_or_else(|| Ok(Trust::default()), Trust::from_file)
    }

    /// A client for API calls.
    pub(crate) fn api_client(&self) -> Result<Client, SourceError> {
        api_client(&self.trust()?)
    }
}

/// A variable of the environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
