//! Reopens the source that a fetch recorded for a revision.

use modelcache_crds::report::FailureClass;

use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::SourceAddress;
use crate::source::access::Access;
use crate::source::kind::Opened;
use crate::store::SourceRecord;

/// The address in a record.
pub(crate) fn address(record: &SourceRecord) -> Result<SourceAddress, SourceError> {
    record.source.parse().map_err(|error| {
        SourceError::new(
            FailureClass::Usage,
            format!(
                "the recorded source {} is invalid: {error}; name a source with --source",
                record.source
            ),
        )
    })
}

/// Opens the source of a record.
///
/// A token goes only to the endpoint that the command line gives it for, since anyone who can write to the volume can
/// change the record.
pub(crate) fn reopen(record: &SourceRecord, access: &Access, progress: &Progress) -> Result<Opened, SourceError> {
    address(record)?.kind().reopen(record, access, progress)
}

/// Parses a record and its address; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(record: &[u8]) {
    let Ok(record) = serde_json::from_slice(record) else {
        return;
    };
    for error in address(&record).err().into_iter().chain(record.parsed_endpoint().err()) {
        assert_eq!(error.class, FailureClass::Usage);
    }
}
