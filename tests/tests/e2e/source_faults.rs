//! Faults of the source: it does not match the spec, or is not reachable.

use anyhow::ensure;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::{Access, GatedListing, Hub, HubConfig};
use serde_json::json;

use crate::fault::ExpectedFault;
use crate::models::{SMALL, weights};
use crate::pods::BUSYBOX;
use crate::waiting::{LATER, SOON};
use crate::world::{host_ip, scenario};

const RESOLVED: ConditionType = ConditionType::SourceResolved;

#[tokio::test]
async fn a_missing_repository_is_reported_and_not_retried() {
    scenario(async |world| {
        world.apply("typo", world.spec(json!({}))).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::RepositoryNotFound,
            message: &[SMALL, "source.huggingFace.repo", "tokenSecretRef"],
        };
        world.until_reported("typo", &fault).await?;
        // The hub has the repository now, so the retry annotation is enough.
        world.serve_small().await;
        world.retry("typo").await?;
        world.until_ready("typo", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_revision_is_reported_and_a_corrected_one_becomes_ready() {
    scenario(async |world| {
        world.serve_small().await;
        let revision = |name: &str| json!({"source": {"huggingFace": {"revision": name}}});
        world.apply("revision", world.spec(revision("v2"))).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::RevisionNotFound,
            message: &[SMALL, "v2", "revision"],
        };
        world.until_reported("revision", &fault).await?;
        world.apply("revision", world.spec(revision("main"))).await?;
        world.until_ready("revision", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_gated_model_is_reported_with_the_page_to_accept_its_licence() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.set_access(SMALL, Access::Gated(GatedListing::Refused))?;
        world.hub.grant("hf_stranger", &[]);
        world.apply_secret("hf", "token", "hf_stranger").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("gated", world.spec(token)).await?;
        let page = format!("{}/{SMALL}", world.hub.endpoint());
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::AccessDenied,
            message: &[SMALL, &page],
        };
        world.until_reported("gated", &fault).await?;
        world.hub.grant("hf_stranger", &[SMALL]);
        world.retry("gated").await?;
        world.until_ready("gated", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_gated_model_with_an_open_listing_is_reported_before_storage_is_created() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.set_access(SMALL, Access::Gated(GatedListing::Open))?;
        world.apply("gated", world.spec(json!({}))).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::AccessDenied,
            message: &[SMALL],
        };
        world.until_reported("gated", &fault).await?;
        let claims = world
            .api::<PersistentVolumeClaim>()
            .list(&ListParams::default())
            .await?;
        ensure!(
            claims.items.is_empty(),
            "a claim was created for a model without access: {claims:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_token_is_reported_and_appears_nowhere() {
    scenario(async |world| {
        world.serve_small().await;
        world.apply_secret("hf", "token", "hf_outdated").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("token", world.spec(token)).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::AuthenticationFailed,
            message: &["token"],
        };
        let cache = world.until_reported("token", &fault).await?;
        let shown = format!("{:?} {:?}", cache.status, world.events("token").await?);
        ensure!(
            !shown.contains("hf_outdated"),
            "status or events contain the token: {shown}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_the_fetcher_starts_once_it_exists() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.grant("hf_x", &[]);
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("secret", world.spec(token)).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::SecretNotFound,
            message: &["Secret hf", &world.namespace, "create it"],
        };
        world.until_reported("secret", &fault).await?;
        world.apply_secret("hf", "token", "hf_x").await?;
        world.until_ready("secret", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_key_of_a_secret_is_reported_and_the_fetcher_starts_once_it_exists() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.grant("hf_x", &[]);
        world.apply_secret("hf", "tokn", "hf_x").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("key", world.spec(token)).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::SecretKeyNotFound,
            message: &["Secret hf", "key token", "tokenSecretRef.key"],
        };
        world.until_reported("key", &fault).await?;
        world.apply_secret("hf", "token", "hf_x").await?;
        world.until_ready("key", LATER).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_hub_is_reported_and_fetched_from_once_it_answers() {
    scenario(async |world| {
        // A free address, where nothing listens.
        let config = HubConfig::on(host_ip());
        let gone = Hub::start(config.clone()).await?;
        let (address, endpoint) = (gone.address(), gone.endpoint());
        drop(gone);
        let elsewhere = json!({"source": {"huggingFace": {"endpoint": endpoint}}});
        world.apply("away", world.spec(elsewhere)).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::SourceUnreachable,
            message: &[&address.to_string()],
        };
        let cache = world.until_reported("away", &fault).await?;
        let next = cache.status.and_then(|status| status.attempts?.next_attempt_time);
        ensure!(next.is_some(), "status has no time of the next attempt");
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
async fn truncated_weights_at_the_source_are_reported_and_not_published() {
    scenario(async |world| {
        let mut short = weights(1 << 20, 1);
        short.pop();
        let files = [("config.json", b"{}".to_vec()), ("model.safetensors", short)];
        world.hub.commit_bytes(SMALL, "main", files).await?;
        world.apply("short", world.spec(json!({}))).await?;
        let fault = ExpectedFault {
            condition: ConditionType::Verified,
            reason: Reason::InvalidFormat,
            message: &[
                "model.safetensors",
                "at byte 1048575",
                "truncated",
                "files.formatCheck: Warn",
            ],
        };
        let cache = world.until_reported("short", &fault).await?;
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
async fn a_listing_that_lacks_a_shard_is_reported_before_storage_is_created() {
    scenario(async |world| {
        let shard = |number| format!("model-0000{number}-of-00003.safetensors");
        let files = [1, 3].map(|number| (shard(number), weights(1 << 20, number)));
        world.hub.commit_bytes(SMALL, "main", files).await?;
        world.apply("shard", world.spec(json!({}))).await?;
        let fault = ExpectedFault {
            condition: RESOLVED,
            reason: Reason::InvalidFormat,
            message: &[&shard(2), "not in the listing"],
        };
        world.until_reported("shard", &fault).await?;
        let claims = world
            .api::<PersistentVolumeClaim>()
            .list(&ListParams::default())
            .await?;
        ensure!(
            claims.items.is_empty(),
            "a claim was created for an incomplete model: {claims:?}"
        );
        Ok(())
    })
    .await;
}
