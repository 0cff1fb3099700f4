//! What is watched.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Runs until told to stop.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    context.view.synced().await;
    shutdown.cancelled().await;
}
