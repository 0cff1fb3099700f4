//! Tests that disturb the operator of all; each runs by itself.

use std::collections::BTreeSet;

use anyhow::ensure;
use kube::ResourceExt;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::{Fault, Rule, Stage};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::fault::Told;
use crate::waiting::{LATER, SOON, until};
use crate::world::scenario;

#[tokio::test]
async fn an_operator_killed_at_any_step_goes_on_and_does_nothing_twice() {
    scenario(async |world| {
        world.serve_weights("main", 12 << 20, 3).await;
        // Listings take long, so that the first kill finds a plan Job under way.
        let slow = Fault::Latency { milliseconds: 4000 };
        world.hub.fault(Rule::on(Stage::Info, "*", slow));
        // Once the line is fast again, each block that is still arriving slowly may be asked for a second time: with two
        // connections these are few.
        let spec = json!({"fetch": {"connections": 2}});
        world.apply("survivor", world.spec(spec)).await?;
        let mut seen = BTreeSet::new();
        let mut look = async |step: &str| -> anyhow::Result<bool> {
            let jobs = world.jobs("survivor", step).await?;
            seen.extend(jobs.iter().map(ResourceExt::name_any));
            Ok(!jobs.is_empty())
        };
        until("a plan Job", SOON, async || Ok(look("plan").await?.then_some(()))).await?;
        world.kill_operator().await?;
        look("plan").await?;

        // The plan Job ended while nobody looked, or ends soon; the next kill finds the claim and the fetch Job just made.
        world.hub.throttle(Some(1 << 20));
        until("a fetch Job", LATER, async || Ok(look("fetch").await?.then_some(()))).await?;
        world.kill_operator().await?;
        look("fetch").await?;
        world.until_sent(4 << 20, LATER).await?;
        world.kill_operator().await?;
        look("fetch").await?;
        world.hub.throttle(None);
        world.until_ready("survivor", LATER).await?;
        look("plan").await?;
        look("fetch").await?;
        assert_eq!(seen.len(), 2, "one Job a step: {seen:?}");
        let sent = world.hub.stats().bytes_sent;
        let taken_over = 8 << 20;
        ensure!(
            sent < (12 << 20) + taken_over,
            "{sent} bytes were sent: something was fetched twice"
        );
        world.until_no_jobs("survivor").await
    })
    .await;
}

#[tokio::test]
async fn a_fetcher_image_that_cannot_be_pulled_is_told_and_a_corrected_one_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        let right = world
            .set_fetcher_image("registry.invalid/modelcache/fetcher:none")
            .await?;
        let told = Told {
            on: ConditionType::SourceResolved,
            reason: Reason::ImagePullFailed,
            says: &["registry.invalid/modelcache/fetcher:none", "fetcher image"],
        };
        let outcome = match world.apply("image", world.spec(json!({}))).await {
            Ok(()) => world.until_told("image", &told).await,
            Err(error) => Err(error.into()),
        };
        world.set_fetcher_image(&right).await?;
        outcome?;
        world.until_ready("image", LATER).await?;
        Ok(())
    })
    .await;
}
