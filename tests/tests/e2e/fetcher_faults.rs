//! What a user meets when the fetcher's pod does not start.

use modelcache_crds::conditions::{ConditionType, Reason};
use serde_json::json;

use crate::fault::Told;
use crate::waiting::SOON;
use crate::world::scenario;

#[tokio::test]
async fn a_fetcher_that_no_node_takes_is_told_and_corrected_placement_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        let nowhere = json!({"placement": {"nodeSelector": {"modelcache.dev/e2e": "nowhere"}}});
        world.apply("nowhere", world.spec(nowhere)).await?;
        let told = Told {
            on: ConditionType::SourceResolved,
            reason: Reason::Unschedulable,
            says: &["no node takes the fetcher's pod", "node affinity/selector"],
        };
        world.until_told("nowhere", &told).await?;
        world.apply("nowhere", world.spec(json!({}))).await?;
        world.until_ready("nowhere", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_quota_that_refuses_the_fetchers_pod_is_told() {
    scenario(async |world| {
        world.serve_small().await;
        world
            .apply_object(json!({
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "no-pods"},
                "spec": {"hard": {"pods": "0"}},
            }))
            .await?;
        world.apply("refused", world.spec(json!({}))).await?;
        let told = Told {
            on: ConditionType::SourceResolved,
            reason: Reason::PodRejected,
            says: &["kubectl describe job"],
        };
        world.until_told("refused", &told).await?;
        Ok(())
    })
    .await;
}
