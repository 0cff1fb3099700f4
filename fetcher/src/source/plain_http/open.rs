//! Opens files on a plain HTTP server.

use std::sync::Arc;

use super::{HttpAddress, PlainHttp};
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::API_RETRY;
use crate::source::access::Access;
use crate::source::kind::{Opened, SourceKind, record_of};
use crate::store::SourceRecord;

impl SourceKind for HttpAddress {
    fn open(&self, access: &Access, _progress: &Progress) -> Result<Opened, SourceError> {
        Ok(Opened {
            origin: self.to_string(),
            source: Arc::new(PlainHttp::new(self.clone(), access.api_client()?, API_RETRY)),
        })
    }

    fn record(&self, _access: &Access, _revision: &str) -> SourceRecord {
        record_of(self)
    }

    fn reopen(&self, _record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        self.open(access, progress)
    }
}
