//! From `kubectl apply` to Ready, and to a pod that loads the model.

use std::path::Path;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use modelcache_crds::conditions::ConditionType;
use modelcache_crds::fetch_defaults::{DEFAULT_CONNECTIONS, SMALL_FILE_MAX_BYTES};
use modelcache_tests::hub::{Access, Hub, HubConfig, Stage};
use modelcache_tests::real_model;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::models::{SMALL, sha256, weights};
use crate::pods::{BUSYBOX, CONSUMER, kubectl};
use crate::waiting::{SOON, condition};
use crate::world::{host_ip, scenario};

const REAL: &str = "sentence-transformers/all-MiniLM-L6-v2";

const LOAD: &str = r#"
import os
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoTokenizer
path = "/models/" + os.environ.get("MODEL_PATH", "current")
tensors = load_file(os.path.join(path, "model.safetensors"))
config = AutoConfig.from_pretrained(path)
tokens = AutoTokenizer.from_pretrained(path)("Every byte is proven.")["input_ids"]
print(len(tensors), sum(t.size for t in tensors.values()), config.model_type, len(tokens))
"#;

const LOAD_BY_NAME: &str = r#"
import sys
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoTokenizer
repo = sys.argv[1]
tensors = load_file(hf_hub_download(repo, "model.safetensors"))
config = AutoConfig.from_pretrained(repo)
tokens = AutoTokenizer.from_pretrained(repo)("Every byte is proven.")["input_ids"]
print(len(tensors), sum(t.size for t in tensors.values()), config.model_type, len(tokens))
"#;

#[tokio::test]
async fn a_model_becomes_ready_and_a_pod_loads_its_weights_offline() {
    scenario(async |world| {
        world.hub.commit_folder(REAL, "main", real_model::folder()?).await?;
        let source = json!({"source": {"huggingFace": {"repo": REAL}}, "files": {"exclude": []}});
        world.apply("minilm", world.spec(source)).await?;
        kubectl(&[
            "-n",
            &world.namespace,
            "wait",
            "--for=condition=Ready",
            "mc/minilm",
            "--timeout=120s",
        ])
        .await?;

        let cache = world.caches().get("minilm").await?;
        let status = cache.status.as_ref().context("no status")?;
        assert_eq!(status.conditions.len(), ConditionType::ALL.len());
        for found in &status.conditions {
            let wanted = if found.type_ == "Stalled" { "False" } else { "True" };
            assert_eq!(found.status, wanted, "{found:?}");
            assert_eq!(found.observed_generation, cache.metadata.generation);
        }
        let resolved = status.resolved.as_ref().context("nothing resolved")?;
        assert_eq!(status.published_digest.as_ref(), Some(&resolved.digest));
        assert_eq!(status.path.as_deref(), Some("current"));
        let served = world.hub.stats();
        assert_eq!(served.credentials_at_cdn, 0);
        // What work stealing may send twice, however slow the machine makes some connections: see the schedule's budget.
        let connections = i64::from(DEFAULT_CONNECTIONS);
        let duplicates = (resolved.bytes / 50).max(connections * i64::try_from(SMALL_FILE_MAX_BYTES)?);
        let sent = i64::try_from(served.bytes_sent)?;
        assert!(
            (resolved.bytes..=resolved.bytes + duplicates).contains(&sent),
            "{sent} bytes were sent for {}, and no more than {duplicates} may be sent twice",
            resolved.bytes
        );
        for reason in ["Resolved", "FetchStarted", "Ready"] {
            world.until_event("minilm", "Normal", reason, &[]).await?;
        }

        let columns = kubectl(&["-n", &world.namespace, "get", "mc"]).await?;
        let (header, line) = columns.split_once('\n').context("one line only")?;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(header),
            ["NAME", "READY", "STATUS", "SOURCE", "SIZE", "PROGRESS", "SPEED", "AGE"]
        );
        assert_eq!(words(line)[..4], ["minilm", "True", "Ready", REAL]);
        ensure!(line.contains(&resolved.size) && line.contains("100%"), "{line}");

        let claim = status.claim_name.as_deref().context("no claim")?;
        let printed = world.run_with_claim(claim, CONSUMER, &["python3", "-c", LOAD]).await?;
        let loaded = printed.lines().last().context("the pod printed nothing")?;
        let (tensors, parameters) = tensors_in(&real_model::folder()?.join("model.safetensors"))?;
        assert_eq!(
            words(loaded)[..3],
            [&tensors.to_string(), &parameters.to_string(), "bert"]
        );
        world.until_no_jobs("minilm").await
    })
    .await;
}

#[tokio::test]
async fn a_model_in_the_layout_of_the_hubs_cache_is_loaded_by_its_name_offline() {
    scenario(async |world| {
        let commit = world.hub.commit_folder(REAL, "main", real_model::folder()?).await?;
        let spec = json!({
            "source": {"huggingFace": {"repo": REAL}},
            "storage": {"layout": "HuggingFaceCache"},
        });
        world.apply("cached", world.spec(spec)).await?;
        let cache = world.until_ready("cached", SOON).await?;
        let status = cache.status.context("no status")?;
        assert_eq!(status.path.as_deref(), Some("current"));
        let found_by = status.hub_cache.context("status has no hubCache")?;
        assert_eq!((found_by.reference, found_by.revision), ("main".to_owned(), commit));

        let claim = status.claim_name.as_deref().context("no claim")?;
        let by_name = [
            "env",
            "HF_HUB_CACHE=/models/current",
            "python3",
            "-c",
            LOAD_BY_NAME,
            REAL,
        ];
        let printed = world.run_with_claim(claim, CONSUMER, &by_name).await?;
        let loaded = printed.lines().last().context("the pod printed nothing")?;
        let (tensors, parameters) = tensors_in(&real_model::folder()?.join("model.safetensors"))?;
        let wanted = format!("{tensors} {parameters} bert ");
        ensure!(loaded.starts_with(&wanted), "{loaded} does not start with {wanted}");
        Ok(())
    })
    .await;
}

/// Number of tensors in a safetensors file, and of their elements, from its header.
fn tensors_in(path: &Path) -> anyhow::Result<(usize, u64)> {
    let bytes = std::fs::read(path)?;
    let (length, rest) = bytes.split_first_chunk::<8>().context("no header")?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length))?);
    let mut tensors: serde_json::Map<String, Value> = serde_json::from_slice(header.context("a truncated header")?)?;
    tensors.remove("__metadata__");
    let numbers = |tensor: &Value| {
        let shape = tensor["shape"].as_array().map_or(&[][..], Vec::as_slice);
        shape.iter().filter_map(Value::as_u64).product::<u64>()
    };
    Ok((tensors.len(), tensors.values().map(numbers).sum()))
}

/// Checks that most bytes come from a mirror with the same model as the test's hub. A second mirror is unreachable.
async fn mirrored_by(name: &str, revision: &str, mirror: impl FnOnce(&str) -> Value) {
    scenario(async |world| {
        const BYTES: usize = 24 << 20;
        world.serve_weights("main", BYTES, 5).await;
        let hub = Hub::start(HubConfig::on(host_ip())).await?;
        let files = [
            ("config.json", b"{\"seed\": 5}".to_vec()),
            ("model.safetensors", weights(BYTES, 5)),
        ];
        hub.commit_bytes(SMALL, revision, files).await?;
        // So slow that the mirror sends most of the bytes.
        world.hub.throttle(Some(1 << 20));
        let mirrors = json!({"mirrors": [mirror(&hub.endpoint()), {"url": "http://127.0.0.1:1"}]});
        world.apply(name, world.spec(mirrors)).await?;
        world.until_ready(name, SOON).await?;
        let sent = hub.stats().bytes_sent;
        ensure!(sent > 12 << 20, "the mirror sent {sent} bytes");
        hub.stop();
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn files_come_from_a_mirror_too_and_an_unreachable_mirror_does_not_delay_them() {
    mirrored_by("mirrored", "main", |endpoint| json!({ "url": endpoint })).await;
}

#[tokio::test]
async fn files_come_from_a_mirror_on_modelscope_too() {
    let twin = |endpoint: &str| json!({"url": format!("modelscope://{SMALL}"), "endpoint": endpoint});
    mirrored_by("twinned", "master", twin).await;
}

#[tokio::test]
async fn an_existing_claim_is_used_in_its_folder_and_is_kept() {
    scenario(async |world| {
        world.serve_small().await;
        world.apply_claim("shared", "64Mi").await?;
        let existing =
            json!({"storage": {"reclaimPolicy": null, "existingClaim": {"claimName": "shared", "subPath": "a/b"}}});
        world.apply("guest", world.spec(existing)).await?;
        let cache = world.until_ready("guest", SOON).await?;
        let status = cache.status.context("no status")?;
        assert_eq!(status.claim_name.as_deref(), Some("shared"));
        assert_eq!(status.path.as_deref(), Some("a/b/current"));
        let read = ["sha256sum", "/models/a/b/current/model.safetensors"];
        let printed = world.run_with_claim("shared", BUSYBOX, &read).await?;
        ensure!(printed.starts_with(&sha256(&weights(3 << 20, 1))), "{printed}");

        world.delete_cache("guest").await?;
        world.until_no_jobs("guest").await?;
        let claim = world.api::<PersistentVolumeClaim>().get("shared").await?;
        ensure!(claim.metadata.deletion_timestamp.is_none() && claim.metadata.owner_references.is_none());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn include_and_exclude_select_exactly_the_published_files() {
    scenario(async |world| {
        let files = [
            "model.safetensors",
            "config.json",
            "README.md",
            "onnx/model.onnx",
            "extra/notes.json",
        ];
        let files = files.map(|name| (name, weights(256, 1)));
        world.hub.commit_bytes(SMALL, "main", files).await?;
        let chosen = json!({"files": {"include": ["*.safetensors", "*.json"], "exclude": ["extra/"]}});
        world.apply("chosen", world.spec(chosen)).await?;
        let cache = world.until_ready("chosen", SOON).await?;
        let status = cache.status.context("no status")?;
        assert_eq!(status.resolved.map(|resolved| resolved.files), Some(2));
        let list = ["sh", "-c", "cd /models/current/ && find . -type f | sort"];
        let printed = world.run_with_claim("chosen", BUSYBOX, &list).await?;
        assert_eq!(printed, "./config.json\n./model.safetensors\n");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_token_opens_a_private_model_and_goes_to_no_other_host() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.set_access(SMALL, Access::Private)?;
        world.hub.grant("hf_friend", &[SMALL]);
        // With the trailing newline of a file.
        world.apply_secret("hf", "token", "hf_friend\n").await?;
        let token = json!({"source": {"huggingFace": {"tokenSecretRef": {"name": "hf"}}}});
        world.apply("private", world.spec(token)).await?;
        world.until_ready("private", SOON).await?;
        let stats = world.hub.stats();
        assert_eq!(stats.credentials_at_cdn, 0);
        for request in &stats.log {
            assert_eq!(request.credentials, request.stage != Stage::Cdn, "{request:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_retained_claim_is_reused_and_nothing_is_fetched_twice() {
    scenario(async |world| {
        world.serve_small().await;
        let keep = json!({"storage": {"reclaimPolicy": "Retain"}});
        world.apply("kept", world.spec(keep.clone())).await?;
        world.until_ready("kept", SOON).await?;
        let claim = world.api::<PersistentVolumeClaim>().get("kept").await?.metadata.uid;
        world.delete_cache("kept").await?;
        world.until_no_jobs("kept").await?;
        world.hub.reset_stats();

        world.apply("kept", world.spec(keep)).await?;
        let cache = world.until_ready("kept", SOON).await?;
        assert_eq!(cache.status.as_ref().and_then(|status| status.claim_uid.clone()), claim);
        assert_eq!(world.hub.stats().bytes_sent, 0);
        let message = condition(&cache, ConditionType::StorageReady).map(|found| found.reason.clone());
        assert_eq!(message.as_deref(), Some("ClaimBound"));
        Ok(())
    })
    .await;
}
