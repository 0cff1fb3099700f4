//! What a user meets when the source is not what the spec says, or not there.

use anyhow::ensure;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::{Access, GatedListing, Hub, HubConfig};
use serde_json::json;

use crate::fault::Told;
use crate::models::{SMALL, weights};
use crate::pods::BUSYBOX;
use crate::waiting::{LATER, SOON};
use crate::world::{host_ip, scenario};

const RESOLVED: ConditionType = ConditionType::SourceResolved;

#[tokio::test]
async fn a_repository_that_is_not_there_is_told_and_not_tried_again() {
    scenario(async |world| {
        world.apply("typo", world.spec(json!({}))).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::RepositoryNotFound,
            says: &[SMALL, "source.huggingFace.repo", "tokenSecretRef"],
        };
        world.until_told("typo", &told).await?;
        // The hub has it now: a changed annotation is enough.
        world.serve_small().await;
        world.retry("typo").await?;
        world.until_ready("typo", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_revision_that_is_not_there_is_told_and_a_corrected_one_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        let revision = |name: &str| json!({"source": {"huggingFace": {"revision": name}}});
        world.apply("revision", world.spec(revision("v2"))).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::RevisionNotFound,
            says: &[SMALL, "v2", "revision"],
        };
        world.until_told("revision", &told).await?;
        world.apply("revision", world.spec(revision("main"))).await?;
        world.until_ready("revision", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_gated_model_is_told_with_the_page_where_the_licence_is_accepted() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.set_access(SMALL, Access::Gated(GatedListing::Refused))?;
        world.hub.grant("hf_stranger", &[]);
        world.apply_secret("hf", "token", "hf_stranger").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("gated", world.spec(token)).await?;
        let page = format!("{}/{SMALL}", world.hub.endpoint());
        let told = Told {
            on: RESOLVED,
            reason: Reason::AccessDenied,
            says: &[SMALL, &page],
        };
        world.until_told("gated", &told).await?;
        world.hub.grant("hf_stranger", &[SMALL]);
        world.retry("gated").await?;
        world.until_ready("gated", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_gated_model_whose_listing_is_open_is_told_before_storage_is_made() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.set_access(SMALL, Access::Gated(GatedListing::Open))?;
        world.apply("gated", world.spec(json!({}))).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::AccessDenied,
            says: &[SMALL],
        };
        world.until_told("gated", &told).await?;
        let claims = world
            .api::<PersistentVolumeClaim>()
            .list(&ListParams::default())
            .await?;
        ensure!(
            claims.items.is_empty(),
            "a claim was made for what may not be read: {claims:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_token_is_told_and_appears_nowhere() {
    scenario(async |world| {
        world.serve_small().await;
        world.apply_secret("hf", "token", "hf_outdated").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("token", world.spec(token)).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::AuthenticationFailed,
            says: &["token"],
        };
        let cache = world.until_told("token", &told).await?;
        let shown = format!("{:?} {:?}", cache.status, world.events("token").await?);
        ensure!(!shown.contains("hf_outdated"), "the token is shown: {shown}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_told_and_the_fetcher_starts_once_it_is_there() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.grant("hf_x", &[]);
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("secret", world.spec(token)).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::SecretNotFound,
            says: &["Secret hf", &world.namespace, "create it"],
        };
        world.until_told("secret", &told).await?;
        world.apply_secret("hf", "token", "hf_x").await?;
        world.until_ready("secret", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_key_of_a_secret_is_told_and_the_fetcher_starts_once_it_is_there() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.grant("hf_x", &[]);
        world.apply_secret("hf", "tokn", "hf_x").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("key", world.spec(token)).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::SecretKeyNotFound,
            says: &["Secret hf", "key token", "tokenSecretRef.key"],
        };
        world.until_told("key", &told).await?;
        world.apply_secret("hf", "token", "hf_x").await?;
        world.until_ready("key", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_hub_is_told_and_fetched_from_once_it_answers() {
    scenario(async |world| {
        // An address that is free now: nobody listens there.
        let config = HubConfig::on(host_ip());
        let gone = Hub::start(config.clone()).await?;
        let (address, endpoint) = (gone.address(), gone.endpoint());
        drop(gone);
        let elsewhere = json!({"source": {"huggingFace": {"endpoint": endpoint}}});
        world.apply("away", world.spec(elsewhere)).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::SourceUnreachable,
            says: &[&address.to_string()],
        };
        let cache = world.until_told("away", &told).await?;
        let next = cache.status.and_then(|status| status.attempts?.next_attempt_time);
        ensure!(next.is_some(), "status does not say when it is tried again");
        let back = Hub::start(HubConfig {
            listen: address,
            ..config
        })
        .await?;
        back.commit_bytes(SMALL, "main", [("config.json", "{}")]).await?;
        world.until_ready("away", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn weights_that_the_source_lists_cut_short_are_told_and_are_under_no_final_name() {
    scenario(async |world| {
        let mut short = weights(1 << 20, 1);
        short.pop();
        let files = [("config.json", b"{}".to_vec()), ("model.safetensors", short)];
        world.hub.commit_bytes(SMALL, "main", files).await?;
        world.apply("short", world.spec(json!({}))).await?;
        let told = Told {
            on: ConditionType::Verified,
            reason: Reason::InvalidFormat,
            says: &[
                "model.safetensors",
                "at byte 1048575",
                "truncated",
                "files.formatCheck: Warn",
            ],
        };
        let cache = world.until_told("short", &told).await?;
        let published = cache.status.and_then(|status| status.published_digest);
        ensure!(published.is_none(), "{published:?}");
        let list = ["sh", "-c", "ls /models/current /models/revisions; true"];
        let printed = world.run_with_claim("short", BUSYBOX, &list).await?;
        ensure!(!printed.contains("model.safetensors"), "published: {printed}");

        let warn = json!({"files": {"formatCheck": "Warn"}});
        world.apply("short", world.spec(warn)).await?;
        world.until_ready("short", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_listing_that_lacks_a_shard_is_told_before_storage_is_made() {
    scenario(async |world| {
        let shard = |number| format!("model-0000{number}-of-00003.safetensors");
        let files = [1, 3].map(|number| (shard(number), weights(1 << 20, number)));
        world.hub.commit_bytes(SMALL, "main", files).await?;
        world.apply("shard", world.spec(json!({}))).await?;
        let told = Told {
            on: RESOLVED,
            reason: Reason::InvalidFormat,
            says: &[&shard(2), "not in the listing"],
        };
        world.until_told("shard", &told).await?;
        let claims = world
            .api::<PersistentVolumeClaim>()
            .list(&ListParams::default())
            .await?;
        ensure!(claims.items.is_empty(), "a claim was made for half a model: {claims:?}");
        Ok(())
    })
    .await;
}
