//! A source that is asked for content, whatever it calls it: what it lists is looked at when the first file is needed.

use std::sync::Arc;

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use tokio::sync::OnceCell;

use super::{Listing, Location, Source};
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// Finds files by digest and size in what a source lists.
pub(crate) struct ByContent {
    source: Arc<dyn Source>,
    /// What it is called in messages.
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
                    "{} does not list a file with {} any more; name a source that does with --source or --mirror",
                    self.name, file.digest
                ),
            ));
        };
        self.source.locate(&listing.revision, listed).await
    }
}
