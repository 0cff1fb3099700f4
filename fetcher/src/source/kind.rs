//! What each kind of source provides beside listing and locating: opening, recording and reopening it, and its layouts.

use std::sync::Arc;

use modelcache_crds::report::FailureClass;

use super::Source;
use super::access::Access;
use super::address::SourceAddress;
use super::hugging_face::Endpoint;
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::store::SourceRecord;

/// A source, ready to be listed.
pub(crate) struct Opened {
    pub(crate) source: Arc<dyn Source>,
    /// Its name in reports; the revision is not part of it.
    pub(crate) origin: String,
}

/// The layouts that a source can be published in, beside every file under its own path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnLayout {
    /// None.
    None,
    /// The cache of the hub's clients.
    HubCache {
        /// `org/name`.
        repository: String,
        /// Branch or tag that the address names.
        revision: String,
    },
    /// Its files are listed in Ollama's own layout, and published in no other.
    Ollama,
}

/// A kind of source.
pub(crate) trait SourceKind {
    /// Opens it; a source that reads its files to list them moves `progress`.
    fn open(&self, access: &Access, progress: &Progress) -> Result<Opened, SourceError>;

    /// What to record of it, so that it can be opened again for the same immutable `revision`.
    fn record(&self, access: &Access, revision: &str) -> SourceRecord;

    /// Opens it as it was recorded. Whoever can write to the volume can have written the record: a token is sent to no
    /// endpoint that only the record names.
    fn reopen(&self, record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError>;

    /// The layout that is its own.
    fn own_layout(&self) -> OwnLayout {
        OwnLayout::None
    }
}

impl SourceAddress {
    /// The registration of every kind.
    pub(crate) fn kind(&self) -> &dyn SourceKind {
        match self {
            Self::HuggingFace(address) => address,
            Self::ModelScope(address) => address,
            Self::Oci(address) => address,
            Self::Ollama(address) => address,
            Self::S3(address) => address,
            Self::PlainHttp(address) => address,
            Self::Local(address) => address,
        }
    }
}

impl SourceRecord {
    /// The base URL in the record.
    pub(crate) fn parsed_endpoint(&self) -> Result<Option<Endpoint>, SourceError> {
        let parsed = self.endpoint.as_deref().map(str::parse).transpose();
        parsed.map_err(|error| {
            let message = format!("the recorded endpoint is not usable ({error}); name a source with --source");
            SourceError::new(FailureClass::Usage, message)
        })
    }
}

/// The record of a source whose address says everything.
pub(crate) fn record_of(address: &impl ToString) -> SourceRecord {
    SourceRecord {
        source: address.to_string(),
        endpoint: None,
        region: None,
    }
}
