//! Lists a model at its source and selects its files.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::formats::{FormatCheck, require_whole_sets};
use crate::model::error::FetchError;
use crate::model::manifest::manifest_digest;
use crate::model::pattern::{LeftOut, Pattern, select};
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::Progress;
use crate::source::access::Access;
use crate::source::kind::Opened;
use crate::source::{Listing, Source, SourceAddress, check_listing};

/// The wanted files of a model, and the access to its source.
pub(crate) struct SourceRequest {
    pub(crate) address: SourceAddress,
    pub(crate) access: Access,
    pub(crate) include: Vec<Pattern>,
    /// Unset: the default list.
    pub(crate) exclude: Option<Vec<Pattern>>,
    pub(crate) format_check: FormatCheck,
}

/// A listed model and its selected files.
pub(crate) struct Selected {
    pub(crate) source: Arc<dyn Source>,
    /// The source with the revision, for reports.
    pub(crate) origin: String,
    pub(crate) revision: String,
    pub(crate) files: Vec<RemoteFile>,
    pub(crate) left_out: Vec<LeftOut>,
    /// Digest of the canonical manifest of the files.
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

/// Lists a model and selects its files.
pub(crate) async fn list(
    request: &SourceRequest,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Selected, FetchError> {
    let Opened { source, origin } = request.address.kind().open(&request.access, progress)?;
    let listing = tokio::select! {
        listing = source.list() => listing?,
        () = stop.cancelled() => return Err(FetchError::Interrupted),
    };
    let Listing { revision, files } = listing;
    let listed = files.len();
    let selection = select(files, &request.include, request.exclude.as_deref());
    if selection.selected.is_empty() {
        return Err(FetchError::NoFilesMatch { listed });
    }
    check_listing(&selection.selected)?;
    require_whole_sets(&selection, request.format_check)?;
    let bytes = selection.selected.iter().map(|file| file.size).sum();
    let digest = manifest_digest(&selection.selected);
    tracing::info!(
        revision,
        digest,
        files = selection.selected.len(),
        listed,
        bytes,
        "listed"
    );
    Ok(Selected {
        source,
        origin: format!("{origin}@{revision}"),
        revision,
        files: selection.selected,
        left_out: selection.left_out,
        digest,
        bytes,
    })
}
