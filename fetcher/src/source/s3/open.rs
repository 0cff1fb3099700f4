//! Opens a bucket. Settings that are not given are looked up as the AWS CLI does.

use std::sync::Arc;

use modelcache_crds::report::FailureClass;
use modelcache_crds::source_defaults::DEFAULT_S3_REGION;

use super::{KeySource, S3, S3Address, S3Endpoint};
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::API_RETRY;
use crate::source::access::{Access, S3Access, variable};
use crate::source::kind::{Opened, SourceKind};
use crate::store::SourceRecord;

impl SourceKind for S3Address {
    fn open(&self, access: &Access, _progress: &Progress) -> Result<Opened, SourceError> {
        let endpoint = endpoint(&access.s3, &variable)?;
        let keys = KeySource::find(&endpoint.region, &variable)?;
        let source = S3::new(self.clone(), endpoint, keys, access.api_client()?, API_RETRY)?;
        Ok(Opened {
            origin: self.to_string(),
            source: Arc::new(source),
        })
    }

    fn record(&self, access: &Access, _revision: &str) -> SourceRecord {
        SourceRecord {
            source: self.to_string(),
            endpoint: access.s3.endpoint.clone(),
            region: access.s3.region.clone(),
        }
    }

    fn reopen(&self, record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        let mut access = access.clone();
        let given = &mut access.s3;
        given.endpoint = given.endpoint.take().or_else(|| record.endpoint.clone());
        given.region = given.region.take().or_else(|| record.region.clone());
        self.open(&access, progress)
    }
}

fn endpoint(access: &S3Access, variable: &dyn Fn(&str) -> Option<String>) -> Result<S3Endpoint, SourceError> {
    let url = access.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL"));
    let url = url.filter(|url| !url.is_empty()).map(|url| url.parse()).transpose();
    let url = url.map_err(|error| {
        SourceError::new(
            FailureClass::Usage,
            format!("the S3 endpoint is not a URL: {error}; correct --s3-endpoint or AWS_ENDPOINT_URL"),
        )
    })?;
    let region = access.region.clone().or_else(|| variable("AWS_DEFAULT_REGION"));
    Ok(S3Endpoint {
        region: region
            .filter(|region| !region.is_empty())
            .unwrap_or_else(|| DEFAULT_S3_REGION.to_owned()),
        virtual_hosted: access.is_virtual_hosted.unwrap_or(url.is_none()),
        url,
    })
}
