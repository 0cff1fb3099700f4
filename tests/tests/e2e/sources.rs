//! Sources other than the hub, each through plan, fetch and verification.

use anyhow::{Context, ensure};
use modelcache_crds::ModelCache;
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_tests::hub::Access;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bucket::Bucket;
use crate::fault::ExpectedFault;
use crate::models::{SMALL, sha256, weights};
use crate::pods::BUSYBOX;
use crate::registry::Registry;
use crate::waiting::{LATER, SOON};
use crate::world::{World, scenario};

const WEIGHTS: usize = 5 << 20;

impl World {
    /// Applies a ModelCache for a source and waits for Ready. Returns it with its revision.
    async fn ready_from(&self, name: &str, source: Value) -> anyhow::Result<(ModelCache, String)> {
        let spec = json!({"source": source, "storage": {"reclaimPolicy": "Delete"}});
        self.apply(name, spec).await?;
        let cache = self.until_ready(name, SOON).await?;
        let resolved = cache.status.clone().and_then(|status| status.resolved);
        let revision = resolved.context("nothing is resolved")?.revision;
        Ok((cache, revision))
    }

    /// The sha256 of a published file, computed in a pod.
    async fn published(&self, name: &str, file: &str) -> anyhow::Result<String> {
        let path = format!("/models/current/{file}");
        let printed = self.run_with_claim(name, BUSYBOX, &["sha256sum", &path]).await?;
        Ok(printed.split_whitespace().next().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn an_artifact_of_a_closed_registry_becomes_ready_with_its_pull_secret() {
    scenario(async |world| {
        let registry = Registry::start(true).await?;
        let bytes = weights(WEIGHTS, 11);
        let path = |path: &str| json!({"org.cncf.model.filepath": path});
        let raw = "application/vnd.cncf.model.weight.v1.raw";
        let config = registry
            .blob(
                "org/model",
                "application/vnd.cncf.model.config.v1+json",
                b"{}",
                json!({}),
            )
            .await?;
        let layer = registry.blob("org/model", raw, &bytes, path("model.bin")).await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json", "config": config, "layers": [layer],
        });
        let digest = registry.manifest("org/model", "v1", &manifest).await?;
        world
            .apply_secret("pull", ".dockerconfigjson", &registry.docker_config())
            .await?;
        let source = json!({"oci": {
            "repository": format!("{}/org/model", registry.host), "reference": "v1", "plainHttp": true,
            "pullSecretRef": {"name": "pull"},
        }});
        let (cache, revision) = world.ready_from("artifact", source).await?;
        assert_eq!(revision, digest);
        let shown = cache.status.and_then(|status| status.source);
        assert_eq!(shown, Some(format!("oci://{}/org/model", registry.host)));
        assert_eq!(world.published("artifact", "model.bin").await?, sha256(&bytes));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_kit_with_an_archive_layer_becomes_ready_with_the_unpacked_files() {
    scenario(async |world| {
        let registry = Registry::start(false).await?;
        let bytes = weights(WEIGHTS, 15);
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("model"))?;
        std::fs::write(folder.path().join("model/model.bin"), &bytes)?;
        let tar = Command::new("tar")
            .args(["-czf", "-", "-C"])
            .arg(folder.path())
            .arg("model")
            .output();
        let tar = tar.await?;
        ensure!(tar.status.success(), "{tar:?}");
        let config = "application/vnd.kitops.modelkit.config.v1+json";
        let config = registry.blob("org/kit", config, b"{}", json!({})).await?;
        let packed = "application/vnd.kitops.modelkit.model.v1.tar+gzip";
        let layer = registry.blob("org/kit", packed, &tar.stdout, json!({})).await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [layer],
        });
        registry.manifest("org/kit", "v1", &manifest).await?;
        let repository = format!("{}/org/kit", registry.host);
        let source = json!({"oci": {"repository": repository, "reference": "v1", "plainHttp": true}});
        let (cache, _) = world.ready_from("kit", source).await?;
        let status = cache.status.unwrap_or_default();
        let planned = status.resolved.map(|resolved| resolved.digest);
        assert_eq!(
            status.published_digest, planned,
            "the published digest differs from the planned one"
        );
        assert_eq!(world.published("kit", "model/model.bin").await?, sha256(&bytes));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_model_of_ollama_becomes_ready_in_the_layout_of_ollama() {
    scenario(async |world| {
        let registry = Registry::start(false).await?;
        let bytes = weights(WEIGHTS, 12);
        let name = "library/tiny";
        let config = registry
            .blob(name, "application/vnd.docker.container.image.v1+json", b"{}", json!({}))
            .await?;
        let model = registry
            .blob(name, "application/vnd.ollama.image.model", &bytes, json!({}))
            .await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": config, "layers": [model],
        });
        let digest = registry.manifest(name, "1b", &manifest).await?;
        let model = format!("{}/{name}", registry.host);
        let source = json!({"ollama": {"model": model, "tag": "1b", "plainHttp": true}});
        let (_, revision) = world.ready_from("tiny", source).await?;
        assert_eq!(revision, digest);
        let blob = format!("blobs/sha256-{}", sha256(&bytes));
        assert_eq!(world.published("tiny", &blob).await?, sha256(&bytes));
        let kept = format!("manifests/{}/{name}/1b", registry.host);
        let published = world.published("tiny", &kept).await?;
        assert_eq!(format!("sha256:{published}"), digest);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_private_model_of_modelscope_becomes_ready_with_its_token() {
    scenario(async |world| {
        world.serve_weights("master", WEIGHTS, 15).await;
        world.hub.set_access(SMALL, Access::Private)?;
        world.hub.grant("ms-friend", &[SMALL]);
        world.apply_secret("modelscope", "token", "ms-friend\n").await?;
        let source = json!({"modelScope": {
            "repo": SMALL, "endpoint": world.hub.endpoint(), "tokenSecretRef": {"name": "modelscope", "key": "token"},
        }});
        let (cache, _) = world.ready_from("twin", source).await?;
        let shown = cache.status.and_then(|status| status.source);
        assert_eq!(shown, Some(format!("modelscope://{SMALL}")));
        let published = world.published("twin", "model.safetensors").await?;
        assert_eq!(published, sha256(&weights(WEIGHTS, 15)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_file_with_its_digest_becomes_ready_and_one_with_another_digest_is_reported() {
    scenario(async |world| {
        world.serve_weights("main", WEIGHTS, 13).await;
        let digest = sha256(&weights(WEIGHTS, 13));
        let url = format!("{}/{SMALL}/resolve/main/model.safetensors", world.hub.endpoint());
        let source = json!({"http": {"url": format!("{url}#sha256={digest}")}});
        world.ready_from("file", source).await?;
        assert_eq!(world.published("file", "model.safetensors").await?, digest);

        let wrong = json!({"http": {"url": format!("{url}#sha256={}", sha256(b"other"))}});
        let spec = json!({"source": wrong, "storage": {"reclaimPolicy": "Delete"}});
        world.apply("wrong", spec).await?;
        let fault = ExpectedFault {
            condition: ConditionType::Verified,
            reason: Reason::DigestMismatch,
            message: &["model.safetensors"],
        };
        let cache = world.until_reported("wrong", &fault).await?;
        let published = cache.status.and_then(|status| status.published_digest);
        ensure!(published.is_none(), "{published:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn objects_of_a_bucket_become_ready_with_the_keys_of_a_secret() {
    scenario(async |world| {
        let store = Bucket::start("models").await?;
        let bytes = weights(WEIGHTS, 14);
        store.put("llama/model.bin", &bytes).await?;
        let sums = format!("{}  model.bin\n", sha256(&bytes));
        store.put("llama/SHA256SUMS", sums.as_bytes()).await?;
        world
            .apply_object(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
                "stringData": {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
            }))
            .await?;
        let source = json!({"s3": {
            "bucket": "models", "prefix": "llama", "endpoint": store.url, "credentialsSecretRef": {"name": "keys"},
        }});
        world.ready_from("bucket", source).await?;
        assert_eq!(world.published("bucket", "model.bin").await?, sha256(&bytes));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_of_another_claim_becomes_ready_and_a_missing_claim_is_reported_until_it_exists() {
    scenario(async |world| {
        let source = |path: &str| json!({"persistentVolumeClaim": {"claimName": "weights", "path": path}});
        let spec = json!({"source": source("llama"), "storage": {"reclaimPolicy": "Delete"}});
        world.apply("copy", spec).await?;
        let fault = ExpectedFault {
            condition: ConditionType::SourceResolved,
            reason: Reason::ClaimNotFound,
            message: &["claim weights does not exist", "create it"],
        };
        world.until_reported("copy", &fault).await?;

        world.apply_claim("weights", "1Gi").await?;
        let script = format!(
            "mkdir -p /models/new /models/listed; head -c {WEIGHTS} /dev/urandom >/models/new/model.bin; \
             echo '{{}}' >/models/new/config.json; cp /models/new/* /models/listed/; mv /models/new /models/llama; \
             cd /models/listed; sha256sum model.bin >SHA256SUMS; cat SHA256SUMS"
        );
        let printed = world.fill_claim("weights", &script).await?;
        let digest = printed.split_whitespace().next().unwrap_or_default().to_owned();
        // The earlier plan found no file, so the source is listed again.
        world.retry("copy").await?;
        let cache = world.until_ready("copy", LATER).await?;
        let shown = cache.status.and_then(|status| status.source);
        assert_eq!(shown.as_deref(), Some("pvc://weights/llama"));
        assert_eq!(world.published("copy", "model.bin").await?, digest);

        world.ready_from("listed", source("listed")).await?;
        assert_eq!(world.published("listed", "model.bin").await?, digest);
        let config = world
            .run_with_claim("listed", BUSYBOX, &["ls", "/models/current/"])
            .await?;
        assert_eq!(config.trim(), "model.bin", "the list names only one file");
        Ok(())
    })
    .await;
}
