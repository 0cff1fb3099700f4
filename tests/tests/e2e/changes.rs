//! Changes of the spec during or after a fetch.

use anyhow::{Context, ensure};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::models::{sha256, weights};
use crate::pods::BUSYBOX;
use crate::waiting::{LATER, SOON};
use crate::world::scenario;

const SIZE: usize = 24 << 20;

#[tokio::test]
async fn a_revision_changed_during_a_fetch_ends_with_the_new_one_only() {
    scenario(async |world| {
        let old = world.serve_weights("main", SIZE, 1).await;
        let new = world.serve_weights("next", SIZE, 2).await;
        ensure!(old != new);
        world.hub.throttle(Some(4 << 20));
        let revision = |name: &str| json!({"source": {"huggingFace": {"revision": name}}});
        world.apply("moving", world.spec(revision("main"))).await?;
        world.until_sent(8 << 20, LATER).await?;
        world.apply("moving", world.spec(revision("next"))).await?;
        world.hub.throttle(None);
        let cache = world.until_ready("moving", LATER).await?;
        let status = cache.status.context("no status")?;
        assert_eq!(status.resolved.map(|resolved| resolved.revision), Some(new));
        let read = [
            "sh",
            "-c",
            "cd /models/current/ && sha256sum model.safetensors && cat config.json && find . -type f | wc -l",
        ];
        let printed = world.run_with_claim("moving", BUSYBOX, &read).await?;
        let lines: Vec<&str> = printed.lines().collect();
        ensure!(lines[0].starts_with(&sha256(&weights(SIZE, 2))), "{printed}");
        assert_eq!(lines[1..].join(" "), "{\"seed\": 2}2");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_layout_publishes_the_same_bytes_again_and_fetches_none() {
    scenario(async |world| {
        let commit = world.serve_small().await;
        world.apply("turned", world.spec(json!({}))).await?;
        world.until_ready("turned", SOON).await?;
        world.hub.reset_stats();
        let layout = json!({"storage": {"layout": "HuggingFaceCache"}});
        world.apply("turned", world.spec(layout)).await?;
        world.until_ready("turned", SOON).await?;
        assert_eq!(world.hub.stats().bytes_sent, 0);
        let read = [
            "sh",
            "-c",
            "cd /models/current/models--org--small && cat refs/main && echo && cat snapshots/*/model.safetensors | sha256sum",
        ];
        let printed = world.run_with_claim("turned", BUSYBOX, &read).await?;
        let wanted = format!("{commit}\n{}", sha256(&weights(3 << 20, 1)));
        ensure!(printed.starts_with(&wanted), "{printed}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_branch_is_resolved_once_and_a_new_commit_needs_a_changed_spec() {
    scenario(async |world| {
        let first = world.serve_small().await;
        world.apply("pinned", world.spec(json!({}))).await?;
        let cache = world.until_ready("pinned", SOON).await?;
        let revision = |cache: modelcache_crds::ModelCache| cache.status?.resolved.map(|resolved| resolved.revision);
        assert_eq!(revision(cache), Some(first.clone()));

        // The branch moves, and the spec changes, but not in its source.
        let second = world.serve_weights("main", 1 << 20, 2).await;
        let more = json!({"fetch": {"connections": 3}});
        world.apply("pinned", world.spec(more)).await?;
        assert_eq!(revision(world.until_ready("pinned", SOON).await?), Some(first));
        let to_second = json!({"source": {"huggingFace": {"revision": second}}});
        world.apply("pinned", world.spec(to_second)).await?;
        assert_eq!(revision(world.until_ready("pinned", SOON).await?), Some(second));
        Ok(())
    })
    .await;
}
