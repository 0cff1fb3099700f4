//! A source that locates files by content instead of path. It lists lazily, for the first file.

use std::sync::Arc;

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use tokio::sync::OnceCell;

use super::{Listing, Location, Source};
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// Locates files by digest and size in the listing of another source.
pub(crate) struct ByContent {
    source: Arc<dyn Source>,
    /// Name of the source in messages.
    name: String,
    listing: OnceCell<Listing>,
}

impl ByContent {
    pub(crate) fn new(source: Arc<dyn Source>, name: String) -> Self {
        Self {
            source,
            name,
            listing: OnceCell::new(),
        }
    }
}

#[async_trait]
impl Source for ByContent {
    async fn list(&self) -> Result<Listing, SourceError> {
        self.source.list().await
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let listing = self.listing.get_or_try_init(|| self.source.list()).await?;
        let listed = listing
            .files
            .iter()
            .find(|listed| (listed.digest, listed.size) == (file.digest, file.size));
        let Some(listed) = listed else {
            return Err(SourceError::new(
                FailureClass::SourceChanged,
                format!(
                    "{} no longer lists a file with {}; name a source that does with --source or --mirror",
                    self.name, file.digest
                ),
            ));
        };
        self.source.locate(&listing.revision, listed).await
    }
}
