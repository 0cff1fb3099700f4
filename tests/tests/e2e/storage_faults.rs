//! Faults of the storage, and bytes that do not match their digest.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::{Fault, Rule, Stage};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::fault::ExpectedFault;
use crate::models::{SMALL, weights};
use crate::pods::BUSYBOX;
use crate::small_disk::SmallDisk;
use crate::waiting::{LATER, SOON, condition};
use crate::world::{World, scenario};

#[tokio::test]
async fn a_missing_storage_class_is_reported() {
    scenario(async |world| {
        world.serve_small().await;
        let class = json!({"storage": {"storageClassName": "no-such-class"}});
        world.apply("class", world.spec(class)).await?;
        let fault = ExpectedFault {
            condition: ConditionType::StorageReady,
            reason: Reason::StorageClassNotFound,
            message: &["no-such-class"],
        };
        world.until_reported("class", &fault).await?;
        ensure!(
            world.jobs("class", "fetch").await?.is_empty(),
            "a fetch Job was created for a volume that cannot exist"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_too_small_is_reported_and_a_larger_one_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        // A quantity may also be a number.
        let (small, large) = (
            json!({"storage": {"size": "1Mi"}}),
            json!({"storage": {"size": 33_554_432}}),
        );
        world.apply("tight", world.spec(small)).await?;
        let fault = ExpectedFault {
            condition: ConditionType::StorageReady,
            reason: Reason::ClaimTooSmall,
            message: &["storage.size", "1.00 MiB", "3.00 MiB"],
        };
        world.until_reported("tight", &fault).await?;
        assert_eq!(
            world.hub.stats().bytes_sent,
            0,
            "bytes were fetched that do not fit into the claim"
        );
        world.apply("tight", world.spec(large)).await?;
        world.until_ready("tight", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_existing_claim_is_reported_and_used_once_it_exists() {
    scenario(async |world| {
        world.serve_small().await;
        let existing = json!({"storage": {"reclaimPolicy": null, "existingClaim": {"claimName": "later"}}});
        world.apply("guest", world.spec(existing)).await?;
        let fault = ExpectedFault {
            condition: ConditionType::StorageReady,
            reason: Reason::ClaimNotFound,
            message: &["claim later", &world.namespace, "create it"],
        };
        world.until_reported("guest", &fault).await?;
        world.apply_claim("later", "64Mi").await?;
        world.until_ready("guest", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_fetch_is_reported_and_the_fetch_continues_once_it_is_larger() {
    if !SmallDisk::is_possible() {
        eprintln!("skipped: the nodes are not on this machine, so they do not see its mounts");
        return;
    }
    scenario(async |world| {
        let disk = SmallDisk::create(world, "node1", "40m").await?;
        let outcome = fill_and_enlarge(world, &disk).await;
        let removed = disk.remove(world).await;
        outcome.and(removed)
    })
    .await;
}

async fn fill_and_enlarge(world: &World, disk: &SmallDisk) -> anyhow::Result<()> {
    let shards = (1..=3).map(|number| (format!("model-{number}.safetensors"), weights(10 << 20, number)));
    world.hub.commit_bytes(SMALL, "main", shards).await?;
    world.hub.throttle(Some(4 << 20));
    let narrow = json!({
        "storage": {"storageClassName": disk.class},
        "fetch": {"parallelFiles": 1, "connections": 2},
    });
    world.apply("full", world.spec(narrow)).await?;
    world.until_sent(4 << 20, LATER).await?;
    // The first shard fits; the next one does not.
    disk.fill_until_free(1 << 20)?;
    let fault = ExpectedFault {
        condition: ConditionType::Fetched,
        reason: Reason::DiskFull,
        message: &["no space left", "enlarge the volume"],
    };
    world.until_reported("full", &fault).await?;
    world.hub.throttle(None);
    disk.enlarge("120m").await?;
    world.until_ready("full", LATER).await?;
    let size = 30 << 20;
    let sent = world.hub.stats().bytes_sent;
    ensure!(
        sent < size + (10 << 20),
        "{sent} bytes were sent for {size}: durable bytes were fetched again"
    );
    Ok(())
}

#[tokio::test]
async fn a_file_that_fails_its_digest_is_reported_not_published_and_fetched_again_on_demand() {
    scenario(async |world| {
        world.serve_small().await;
        let flip = Fault::Flip { offset: 1_000_000 };
        world.hub.fault(Rule::on(Stage::Cdn, "*.safetensors", flip));
        world.apply("damaged", world.spec(json!({}))).await?;
        let fault = ExpectedFault {
            condition: ConditionType::Verified,
            reason: Reason::DigestMismatch,
            message: &["model.safetensors"],
        };
        let cache = world.until_reported("damaged", &fault).await?;
        let status = cache.status.as_ref().context("no status")?;
        ensure!(status.published_digest.is_none() && status.path.is_none());
        let fetched = condition(&cache, ConditionType::Fetched).map(|found| found.status.as_str());
        assert_eq!(fetched, Some("True"), "all bytes arrived");
        let list = [
            "sh",
            "-c",
            "ls -A /models; find /models/current /models/revisions -name '*.safetensors'; true",
        ];
        let printed = world.run_with_claim("damaged", BUSYBOX, &list).await?;
        ensure!(
            !printed.contains("model.safetensors"),
            "published without verification: {printed}"
        );

        world.hub.clear_faults();
        world.retry("damaged").await?;
        world.until_ready("damaged", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_of_another_owner_is_left_unchanged_and_reported() {
    scenario(async |world| {
        world.serve_small().await;
        world.apply_claim("taken", "64Mi").await?;
        world.apply("taken", world.spec(json!({}))).await?;
        let fault = ExpectedFault {
            condition: ConditionType::StorageReady,
            reason: Reason::ClaimNotOwned,
            message: &["claim taken", "existingClaim"],
        };
        world.until_reported("taken", &fault).await?;
        let claim = world.api::<PersistentVolumeClaim>().get("taken").await?;
        ensure!(claim.metadata.owner_references.is_none(), "{claim:?}");
        Ok(())
    })
    .await;
}
