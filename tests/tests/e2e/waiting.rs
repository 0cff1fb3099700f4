//! Waits for an expected state, with a deadline and a description.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use modelcache_crds::ModelCache;
use modelcache_crds::conditions::ConditionType;
use tokio::time::Instant;

use crate::world::World;

/// Time for two Jobs and one volume, for a model of a few megabytes.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// Time for a retry after its pause, or for the back-off of an image pull.
pub(crate) const LATER: Duration = Duration::from_mins(3);

const PAUSE: Duration = Duration::from_millis(200);

/// Polls until there is a result.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut poll: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(result) = poll().await.with_context(|| format!("while waiting for {what}"))? {
            return Ok(result);
        }
        if Instant::now() > deadline {
            bail!("timed out after {} s: {what}", within.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl World {
    /// Waits until a ModelCache meets an expectation, and returns it.
    pub(crate) async fn until_cache(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        mut is_met: impl FnMut(&ModelCache) -> bool,
    ) -> anyhow::Result<ModelCache> {
        until(&format!("{name}: {what}"), within, async || {
            let cache = self.caches().get(name).await?;
            Ok(is_met(&cache).then_some(cache))
        })
        .await
    }

    /// Waits for Ready=True for the current generation, and returns the ModelCache.
    pub(crate) async fn until_ready(&self, name: &str, within: Duration) -> anyhow::Result<ModelCache> {
        self.until_cache(name, "Ready", within, |cache| {
            condition(cache, ConditionType::Ready)
                .is_some_and(|ready| ready.status == "True" && ready.observed_generation == cache.metadata.generation)
        })
        .await
    }

    /// Waits until the hub has sent this number of bytes of files.
    pub(crate) async fn until_sent(&self, bytes: u64, within: Duration) -> anyhow::Result<()> {
        until(&format!("{bytes} bytes from the hub"), within, async || {
            Ok((self.hub.stats().bytes_sent >= bytes).then_some(()))
        })
        .await
    }
}

/// A condition of a ModelCache.
pub(crate) fn condition(cache: &ModelCache, kind: ConditionType) -> Option<&Condition> {
    let status = cache.status.as_ref()?;
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}
