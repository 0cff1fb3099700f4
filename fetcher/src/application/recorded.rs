//! Where a revision came from, written down when it is fetched, and asked again when it is repaired.

use modelcache_crds::report::FailureClass;

use super::open::{Opened, open, open_hub, open_model_scope};
use crate::command_line::args::{AccessArgs, SourceArgs};
use crate::http::client;
use crate::model::error::SourceError;
use crate::observe::progress::Progress;
use crate::source::SourceAddress;
use crate::source::hugging_face::Endpoint;
use crate::store::SourceRecord;

/// What is written down of a source; of the hub with the commit, for a branch moves on.
pub(crate) fn record(args: &SourceArgs, revision: &str) -> SourceRecord {
    let access = &args.access;
    let (source, endpoint, region) = match &args.source {
        SourceAddress::HuggingFace(address) => (
            format!("hf://{}@{revision}", address.repo),
            Some(access.endpoint.to_string()),
            None,
        ),
        address @ SourceAddress::ModelScope(_) => {
            (address.to_string(), Some(access.modelscope_endpoint.to_string()), None)
        }
        address @ SourceAddress::S3(_) => (
            address.to_string(),
            access.s3.s3_endpoint.clone(),
            access.s3.s3_region.clone(),
        ),
        address => (address.to_string(), None, None),
    };
    SourceRecord {
        source,
        endpoint,
        region,
    }
}

/// The address in a record.
pub(crate) fn address(record: &SourceRecord) -> Result<SourceAddress, SourceError> {
    record.source.parse().map_err(|error| {
        SourceError::new(
            FailureClass::Usage,
            format!(
                "the recorded source {} cannot be asked again ({error}); name one with --source",
                record.source
            ),
        )
    })
}

/// Opens the source of a record. A token is sent to the endpoint it was given for on this command line only: whoever
/// can write to the volume can have written the record.
pub(crate) fn reopen(record: &SourceRecord, access: &AccessArgs, progress: &Progress) -> Result<Opened, SourceError> {
    let address = address(record)?;
    match (&address, endpoint(record)?) {
        (SourceAddress::HuggingFace(model), Some(endpoint)) if endpoint != access.endpoint => {
            open_hub(&endpoint, model.clone(), None, http::api_client(&access.trust()?)?)
        }
        (SourceAddress::ModelScope(model), Some(endpoint)) if endpoint != access.modelscope_endpoint => {
            open_model_scope(&endpoint, model.clone(), None, http::api_client(&access.trust()?)?)
        }
        (SourceAddress::S3(_), _) => {
            let mut access = access.clone();
            let given = &mut access.s3;
            given.s3_endpoint = given.s3_endpoint.take().or_else(|| record.endpoint.clone());
            given.s3_region = given.s3_region.take().or_else(|| record.region.clone());
            open(&address, &access, progress)
        }
        _ => open(&address, access, progress),
    }
}

fn endpoint(record: &SourceRecord) -> Result<Option<Endpoint>, SourceError> {
    let parsed = record.endpoint.as_deref().map(str::parse).transpose();
    parsed.map_err(|error| {
        let message = format!("the recorded endpoint is of no use ({error}); name a source with --source");
        SourceError::new(FailureClass::Usage, message)
    })
}

/// Reads where a record says that a revision came from; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(record: &[u8]) {
    let Ok(record) = serde_json::from_slice(record) else {
        return;
    };
    for error in address(&record).err().into_iter().chain(endpoint(&record).err()) {
        assert_eq!(error.class, FailureClass::Usage);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::command_line::args::{Args, Command};

    fn source(words: &[&str]) -> SourceArgs {
        let (address, options) = words.split_first().unwrap();
        let words = [&["modelcache-fetcher", "fetch", *address, "DIR"][..], options].concat();
        match Args::try_parse_from(words).unwrap().command {
            Command::Fetch(args) => args.source,
            command => panic!("{command:?}"),
        }
    }

    #[rstest]
    #[case::hub(&["hf://org/name@main", "--endpoint", "https://hub"], "hf://org/name@abc", Some("https://hub"))]
    #[case::model_scope(&["modelscope://org/name", "--modelscope-endpoint", "https://ms"], "modelscope://org/name@master", Some("https://ms"))]
    #[case::bucket(&["s3://bucket/m", "--s3-endpoint", "http://s3"], "s3://bucket/m", Some("http://s3"))]
    #[case::list(&["https://host/SHA256SUMS"], "https://host/SHA256SUMS", None)]
    #[case::registry(&["oci://host/repo:tag"], "oci://host/repo:tag", None)]
    fn what_is_recorded_can_be_opened_again(
        #[case] words: &[&str],
        #[case] recorded: &str,
        #[case] endpoint: Option<&str>,
    ) {
        let record = record(&source(words), "abc");
        assert_eq!(record.source, recorded);
        assert_eq!(record.endpoint.as_deref(), endpoint);
        assert_eq!(address(&record).unwrap().to_string(), recorded);
    }
}
