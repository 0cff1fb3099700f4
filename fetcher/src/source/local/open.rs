//! Opens a mounted folder.

use std::sync::Arc;

use super::{Local, LocalAddress};
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::access::Access;
use crate::source::kind::{Opened, SourceKind, record_of};
use crate::store::SourceRecord;

impl SourceKind for LocalAddress {
    fn open(&self, _access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        Ok(Opened {
            origin: self.to_string(),
            source: Arc::new(Local::new(self.clone(), progress.clone())),
        })
    }

    fn record(&self, _access: &Access, _revision: &str) -> SourceRecord {
        record_of(self)
    }

    fn reopen(&self, _record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
        self.open(access, progress)
    }
}
