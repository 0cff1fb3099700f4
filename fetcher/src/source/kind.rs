//! The operations of each kind of source other than listing and locating: open, record, reopen, own layout.

use std::sync::Arc;

use modelcache_crds::report::FailureClass;

use super::Source;
use super::access::Access;
use super::address::SourceAddress;
use super::hugging_face::Endpoint;
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::store::SourceRecord;

/// A source that is ready to list.
pub(crate) struct Opened {
    pub(crate) source: Arc<dyn Source>,
    /// Its name in reports, without the revision.
    pub(crate) origin: String,
}

/// The layout that is specific to a kind of source, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnLayout {
    /// None: every file under its own path.
    None,
    /// The cache layout of the hub's clients.
    HubCache {
        /// `org/name`.
        repository: String,
        /// Branch or tag of the address.
        revision: String,
    },
    /// Ollama's layout. The listing has it already, and no other is possible.
    Ollama,
}

/// A kind of source.
pub(crate) trait SourceKind {
    /// Opens the source. One that hashes its files to list them updates `progress`.
    fn open(&self, access: &Access, progress: &Progress) -> Result<Opened, SourceError>;

    /// The record from which the source can be reopened for the same immutable `revision`.
    fn record(&self, access: &Access, revision: &str) -> SourceRecord;

    /// Opens the source of a record.
    ///
    /// Anyone who can write to the volume can forge the record, so no token is sent to an endpoint that only the record
    /// names.
    fn reopen(&self, record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError>;

    /// The layout that is specific to this source.
    fn own_layout(&self) -> OwnLayout {
        OwnLayout::None
    }
}

impl SourceAddress {
    /// The operations of the address's kind of source; every kind is registered here.
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
    /// The recorded base URL.
    pub(crate) fn parsed_endpoint(&self) -> Result<Option<Endpoint>, SourceError> {
        let parsed = self.endpoint.as_deref().map(str::parse).transpose();
        parsed.map_err(|error| {
            let message = format!("the recorded endpoint is invalid ({error}); name a source with --source");
            SourceError::new(FailureClass::Usage, message)
        })
    }
}

/// The record of a source that its address identifies completely.
pub(crate) fn record_of(address: &impl ToString) -> SourceRecord {
    SourceRecord {
        source: address.to_string(),
        endpoint: None,
        region: None,
    }
}
