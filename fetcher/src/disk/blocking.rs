//! Work that waits for the disk, beside the runtime.

use tokio::task::spawn_blocking;

use crate::model::error::FetchError;

/// Does some work on a thread that may block. One that panicked is a defect, and told as such.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    spawn_blocking(work)
        .await
        .map_err(|error| FetchError::Internal(format!("a thread ended early: {error}")))?
}
