//! Fetchers that are killed, and ModelCaches that are deleted, during a fetch.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::DeleteParams;
use modelcache_crds::conditions::Reason;
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::models::{sha256, weights};
use crate::pods::{BUSYBOX, kill_process_of};
use crate::waiting::{LATER, SOON, until};
use crate::world::{World, scenario};

const MEBIBYTE: u64 = 1 << 20;
const SIZE: u64 = 64 * MEBIBYTE;
/// Slow enough to interrupt the fetch.
const RATE: u64 = 6 * MEBIBYTE;

/// Applies a model of [`SIZE`] and waits until about half of it is sent.
async fn fetch_half(world: &World, name: &str, reclaim: &str) -> anyhow::Result<Pod> {
    world.serve_weights("main", usize::try_from(SIZE)?, 7).await;
    world.hub.throttle(Some(RATE));
    let narrow = json!({"storage": {"reclaimPolicy": reclaim}, "fetch": {"connections": 2}});
    world.apply(name, world.spec(narrow)).await?;
    world.until_sent(SIZE / 2, LATER).await?;
    world.until_running(name, "fetch", SOON).await
}

#[tokio::test]
async fn a_killed_fetcher_continues_from_its_durable_bytes() {
    scenario(async |world| {
        let pod = fetch_half(world, "killed", "Delete").await?;
        if !kill_process_of(&pod, "modelcache-fetcher")? {
            let at_once = DeleteParams::default().grace_period(0);
            world.api::<Pod>().delete(&pod.name_any(), &at_once).await?;
        }
        let sent_before = world.hub.stats().bytes_sent;
        world
            .until_event("killed", "Warning", Reason::Killed.as_str(), &[])
            .await?;
        world.hub.throttle(None);
        let cache = world.until_ready("killed", LATER).await?;
        let sent = world.hub.stats().bytes_sent;
        // A kill loses the blocks in flight on two connections, and the bytes of the last seconds without a sync.
        let lost = sent.saturating_sub(SIZE);
        ensure!(
            lost < 30 * MEBIBYTE,
            "{sent} bytes were sent for {SIZE}, {sent_before} of them before the fetcher was killed"
        );
        let attempts = cache.status.context("no status")?.attempts;
        assert_eq!(attempts, None, "success must reset the failed attempts");
        let read = ["sha256sum", "/models/current/model.safetensors"];
        let printed = world.run_with_claim("killed", BUSYBOX, &read).await?;
        ensure!(
            printed.starts_with(&sha256(&weights(usize::try_from(SIZE)?, 7))),
            "{printed}"
        );
        eprintln!("killed after {sent_before} of {SIZE} bytes; {lost} bytes were fetched again");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_fetchers_pod_that_is_deleted_by_hand_is_created_again() {
    scenario(async |world| {
        let pod = fetch_half(world, "evicted", "Delete").await?;
        world
            .api::<Pod>()
            .delete(&pod.name_any(), &DeleteParams::default())
            .await?;
        world.hub.throttle(None);
        world.until_ready("evicted", LATER).await?;
        let sent = world.hub.stats().bytes_sent;
        // The fetcher gets a SIGTERM and has time to sync its bytes.
        ensure!(sent < SIZE + 20 * MEBIBYTE, "{sent} bytes were sent for {SIZE}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_cache_deleted_during_a_fetch_leaves_no_job_and_applies_the_reclaim_policy() {
    scenario(async |world| {
        fetch_half(world, "going", "Delete").await?;
        world.delete_cache("going").await?;
        world.until_no_jobs("going").await?;
        let claims = world.api::<PersistentVolumeClaim>();
        until("the claim's deletion", LATER, async || {
            Ok(claims.get_opt("going").await?.is_none().then_some(()))
        })
        .await?;

        world.hub.reset_stats();
        fetch_half(world, "staying", "Retain").await?;
        world.delete_cache("staying").await?;
        world.until_no_jobs("staying").await?;
        let claim = claims.get("staying").await?;
        ensure!(claim.metadata.deletion_timestamp.is_none(), "{claim:?}");
        Ok(())
    })
    .await;
}
