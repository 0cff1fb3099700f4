//! Waiting for what a test expects, with a deadline and a reason.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use modelcache_crds::ModelCache;
use modelcache_crds::conditions::ConditionType;
use tokio::time::Instant;

use crate::world::World;

/// A model of a few megabytes: two Jobs, one volume.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// What needs a retry with its pause, or a pod image that backs off.
pub(crate) const LATER: Duration = Duration::from_mins(3);

const PAUSE: Duration = Duration::from_millis(200);

/// Asks until there is an answer.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await.with_context(|| format!("while waiting for {what}"))? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", within.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl World {
    /// Waits until a ModelCache is as expected, and returns it.
    pub(crate) async fn until_cache(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        mut is_so: impl FnMut(&ModelCache) -> bool,
    ) -> anyhow::Result<ModelCache> {
        until(&format!("{name}: {what}"), within, async || {
            let cache = self.caches().get(name).await?;
            Ok(is_so(&cache).then_some(cache))
        })
        .await
    }

    /// Waits for Ready=True of the spec as it stands, and returns the ModelCache.
    pub(crate) async fn until_ready(&self, name: &str, within: Duration) -> anyhow::Result<ModelCache> {
        self.until_cache(name, "Ready", within, |cache| {
            condition(cache, ConditionType::Ready)
                .is_some_and(|ready| ready.status == "True" && ready.observed_generation == cache.metadata.generation)
        })
        .await
    }

    /// Waits until the hub has sent so many bytes of files.
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
