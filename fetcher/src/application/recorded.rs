//! The source that a fetch recorded for a revision.

use modelcache_crds::report::FailureClass;

use crate::model::error::SourceError;
use crate::source::SourceAddress;
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
