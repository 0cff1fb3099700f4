//! Runs blocking disk work outside the async runtime.

use tokio::task::spawn_blocking;

use crate::model::error::FetchError;

/// Runs work on a blocking thread. A panic is returned as [`FetchError::Internal`].
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    spawn_blocking(work)
        .await
        .map_err(|error| FetchError::Internal(format!("a blocking task failed: {error}")))?
}
