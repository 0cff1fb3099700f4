//! Opens an artifact in a registry, with the credentials of `docker login`.

use std::sync::Arc;

use super::{Oci, OciAddress};
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::access::{Access, variable};
use crate::source::kind::{Opened, SourceKind, record_of};
use crate::source::{API_RETRY, RegistryCredentials};
use crate::store::SourceRecord;

impl SourceKind for OciAddress {
    fn open(&self, access: &Access, _progress: &Progress) -> Result<Opened, SourceError> {
        let credentials = RegistryCredentials::find(&variable)?;
        Ok(Opened {
            origin: self.to_string(),
            source: Arc::new(Oci::new(self.clone(), credentials, access.api_client()?, API_RETRY)),
        })
    }

    fn record(&self, _access: &Access, _revision: &str) -> SourceRecord {
        record_of(self)
    }

    fn reopen(&self, _record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        self.open(access, progress)
    }
}
