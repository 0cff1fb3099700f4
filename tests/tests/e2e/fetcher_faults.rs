//! Faults that keep the fetcher's pod from starting.

use modelcache_crds::conditions::{ConditionType, Reason};
use serde_json::json;

use crate::fault::ExpectedFault;
use crate::waiting::SOON;
use crate::world::scenario;

#[tokio::test]
async fn an_unschedulable_fetcher_is_reported_and_corrected_placement_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        let nowhere = json!({"placement": {"nodeSelector": {"modelcache.dev/e2e": "nowhere"}}});
        world.apply("nowhere", world.spec(nowhere)).await?;
        let fault = ExpectedFault {
            condition: ConditionType::SourceResolved,
            reason: Reason::Unschedulable,
            message: &["no node takes the fetcher's pod", "node affinity/selector"],
        };
        world.until_reported("nowhere", &fault).await?;
        world.apply("nowhere", world.spec(json!({}))).await?;
        world.until_ready("nowhere", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_quota_that_refuses_the_fetchers_pod_is_reported() {
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
        let fault = ExpectedFault {
            condition: ConditionType::SourceResolved,
            reason: Reason::PodRejected,
            message: &["kubectl describe job"],
        };
        world.until_reported("refused", &fault).await?;
        Ok(())
    })
    .await;
}
