//! Tests that disturb the one operator; nothing else runs at the same time.

use std::collections::BTreeSet;

use anyhow::ensure;
use kube::ResourceExt;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::{Fault, Rule, Stage};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::fault::ExpectedFault;
use crate::waiting::{LATER, SOON, until};
use crate::world::scenario;

#[tokio::test]
async fn an_operator_killed_at_any_step_continues_and_does_nothing_twice() {
    scenario(async |world| {
        world.serve_weights("main", 12 << 20, 3).await;
        // Listings take long, so that the plan Job runs at the first kill.
        let slow = Fault::Latency { milliseconds: 4000 };
        world.hub.fault(Rule::on(Stage::Info, "*", slow));
        // After the cap is removed, the fetcher may request each slow block twice. Two connections keep these few.
        let spec = json!({"fetch": {"connections": 2}});
        world.apply("survivor", world.spec(spec)).await?;
        let mut seen = BTreeSet::new();
        let mut record_jobs = async |step: &str| -> anyhow::Result<bool> {
            let jobs = world.jobs("survivor", step).await?;
            seen.extend(jobs.iter().map(ResourceExt::name_any));
            Ok(!jobs.is_empty())
        };
        until("a plan Job", SOON, async || {
            Ok(record_jobs("plan").await?.then_some(()))
        })
        .await?;
        world.kill_operator().await?;
        record_jobs("plan").await?;

        // The plan Job ended meanwhile, or ends soon. The next kill comes right after claim and fetch Job are created.
        world.hub.throttle(Some(1 << 20));
        until("a fetch Job", LATER, async || {
            Ok(record_jobs("fetch").await?.then_some(()))
        })
        .await?;
        world.kill_operator().await?;
        record_jobs("fetch").await?;
        world.until_sent(4 << 20, LATER).await?;
        world.kill_operator().await?;
        record_jobs("fetch").await?;
        world.hub.throttle(None);
        world.until_ready("survivor", LATER).await?;
        record_jobs("plan").await?;
        record_jobs("fetch").await?;
        assert_eq!(seen.len(), 2, "one Job per step: {seen:?}");
        let sent = world.hub.stats().bytes_sent;
        let duplicate_limit = 8 << 20;
        ensure!(
            sent < (12 << 20) + duplicate_limit,
            "{sent} bytes were sent: something was fetched twice"
        );
        world.until_no_jobs("survivor").await
    })
    .await;
}

#[tokio::test]
async fn a_fetcher_image_that_cannot_be_pulled_is_reported_and_a_corrected_one_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        let right = world
            .set_fetcher_image("registry.invalid/modelcache/fetcher:none")
            .await?;
        let fault = ExpectedFault {
            condition: ConditionType::SourceResolved,
            reason: Reason::ImagePullFailed,
            message: &["registry.invalid/modelcache/fetcher:none", "fetcher image"],
        };
        let outcome = match world.apply("image", world.spec(json!({}))).await {
            Ok(()) => world.until_reported("image", &fault).await,
            Err(error) => Err(error.into()),
        };
        world.set_fetcher_image(&right).await?;
        outcome?;
        world.until_ready("image", LATER).await?;
        Ok(())
    })
    .await;
}
