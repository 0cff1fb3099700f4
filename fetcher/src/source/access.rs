//! Settings for reaching sources: endpoints, credentials and trusted certificates.

use std::path::PathBuf;

use reqwest::Client;

use super::hugging_face::Endpoint;
use crate::http::client::{Trust, api_client};
use crate::model::error::SourceError;

/// Settings for reaching sources of every kind.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Base URL of the Hugging Face Hub.
    pub(crate) endpoint: Endpoint,
    /// Base URL of ModelScope.
    pub(crate) modelscope_endpoint: Endpoint,
    /// Location of S3 buckets.
    pub(crate) s3: S3Access,
    /// File that contains an access token.
    pub(crate) token_file: Option<PathBuf>,
    /// File of certificate authorities to trust in addition to the system's.
    pub(crate) ca_certificate: Option<PathBuf>,
}

/// Location of S3 buckets. Unset fields are looked up as the AWS CLI does.
#[derive(Clone, Debug, Default)]
pub(crate) struct S3Access {
    /// Base URL of an S3 server.
    pub(crate) endpoint: Option<String>,
    /// Region that requests are signed for.
    pub(crate) region: Option<String>,
    /// Whether the bucket is part of the host name. Default: yes for AWS, no for an endpoint.
    pub(crate) is_virtual_hosted: Option<bool>,
}

impl Access {
    /// Reads the certificate authorities to trust in addition to the system's.
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

/// Reads an environment variable.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
