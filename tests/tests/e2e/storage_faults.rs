//! What a user meets when the storage cannot hold the model, or the bytes are not the listed ones.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::{Fault, Rule, Stage};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::fault::Told;
use crate::models::{SMALL, weights};
use crate::pods::BUSYBOX;
use crate::small_disk::SmallDisk;
use crate::waiting::{LATER, SOON, condition};
use crate::world::{World, scenario};

#[tokio::test]
async fn a_storage_class_that_is_not_there_is_told() {
    scenario(async |world| {
        world.serve_small().await;
        let class = json!({"storage": {"storageClassName": "no-such-class"}});
        world.apply("class", world.spec(class)).await?;
        let told = Told {
            on: ConditionType::StorageReady,
            reason: Reason::StorageClassNotFound,
            says: &["no-such-class"],
        };
        world.until_told("class", &told).await?;
        ensure!(
            world.jobs("class", "fetch").await?.is_empty(),
            "a fetcher waits for a volume that never comes"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_too_small_is_told_and_a_larger_one_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        // A quantity may be written as a number too.
        let (small, large) = (
            json!({"storage": {"size": "1Mi"}}),
            json!({"storage": {"size": 33_554_432}}),
        );
        world.apply("tight", world.spec(small)).await?;
        let told = Told {
            on: ConditionType::StorageReady,
            reason: Reason::ClaimTooSmall,
            says: &["storage.size", "1.00 MiB", "3.00 MiB"],
        };
        world.until_told("tight", &told).await?;
        assert_eq!(world.hub.stats().bytes_sent, 0, "nothing is fetched that finds no room");
        world.apply("tight", world.spec(large)).await?;
        world.until_ready("tight", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_existing_claim_that_is_not_there_is_told_and_used_once_it_is() {
    scenario(async |world| {
        world.serve_small().await;
        let existing = json!({"storage": {"reclaimPolicy": null, "existingClaim": {"claimName": "later"}}});
        world.apply("guest", world.spec(existing)).await?;
        let told = Told {
            on: ConditionType::StorageReady,
            reason: Reason::ClaimNotFound,
            says: &["claim later", &world.namespace, "create it"],
        };
        world.until_told("guest", &told).await?;
        world.apply_claim("later", "64Mi").await?;
        world.until_ready("guest", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_is_told_and_the_fetch_goes_on_once_it_is_larger() {
    if !SmallDisk::is_possible() {
        eprintln!("not run: the nodes are not on this machine, so they do not see a disk made here");
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
    // The first shard has its room; the next one does not.
    disk.fill_but(1 << 20)?;
    let told = Told {
        on: ConditionType::Fetched,
        reason: Reason::DiskFull,
        says: &["no space left", "enlarge the volume"],
    };
    world.until_told("full", &told).await?;
    world.hub.throttle(None);
    disk.enlarge("120m").await?;
    world.until_ready("full", LATER).await?;
    let size = 30 << 20;
    let sent = world.hub.stats().bytes_sent;
    ensure!(
        sent < size + (10 << 20),
        "{sent} bytes were sent for {size}: what was durable when the disk was full was fetched again"
    );
    Ok(())
}

#[tokio::test]
async fn a_file_that_fails_its_digest_is_told_is_under_no_final_name_and_is_fetched_anew_on_demand() {
    scenario(async |world| {
        world.serve_small().await;
        let flip = Fault::Flip { offset: 1_000_000 };
        world.hub.fault(Rule::on(Stage::Cdn, "*.safetensors", flip));
        world.apply("damaged", world.spec(json!({}))).await?;
        let told = Told {
            on: ConditionType::Verified,
            reason: Reason::DigestMismatch,
            says: &["model.safetensors"],
        };
        let cache = world.until_told("damaged", &told).await?;
        let status = cache.status.as_ref().context("no status")?;
        ensure!(status.published_digest.is_none() && status.path.is_none());
        let fetched = condition(&cache, ConditionType::Fetched).map(|found| found.status.as_str());
        assert_eq!(fetched, Some("True"), "every byte arrived");
        let list = [
            "sh",
            "-c",
            "ls -A /models; find /models/current /models/revisions -name '*.safetensors'; true",
        ];
        let printed = world.run_with_claim("damaged", BUSYBOX, &list).await?;
        ensure!(!printed.contains("model.safetensors"), "published unproven: {printed}");

        world.hub.clear_faults();
        world.retry("damaged").await?;
        world.until_ready("damaged", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_not_ours_is_left_alone_and_told() {
    scenario(async |world| {
        world.serve_small().await;
        world.apply_claim("taken", "64Mi").await?;
        world.apply("taken", world.spec(json!({}))).await?;
        let told = Told {
            on: ConditionType::StorageReady,
            reason: Reason::ClaimNotOwned,
            says: &["claim taken", "existingClaim"],
        };
        world.until_told("taken", &told).await?;
        let claim = world.api::<PersistentVolumeClaim>().get("taken").await?;
        ensure!(claim.metadata.owner_references.is_none(), "{claim:?}");
        Ok(())
    })
    .await;
}
