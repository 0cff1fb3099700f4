//! Specs that the API server refuses, with a message that says what to write instead.

use anyhow::{bail, ensure};
use modelcache_crds::conditions::{ConditionType, Reason};
use serde_json::{Value, json};

use crate::fault::ExpectedFault;
use crate::models::SMALL;
use crate::waiting::SOON;
use crate::world::{World, scenario};

impl World {
    async fn refusal(&self, name: &str, spec: Value) -> anyhow::Result<String> {
        match self.apply(name, spec.clone()).await {
            Err(kube::Error::Api(status)) => Ok(status.message),
            Err(error) => Err(error.into()),
            Ok(()) => bail!("admitted: {spec}"),
        }
    }
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_refused_with_advice() {
    scenario(async |world| {
        for (changes, sentence) in [
            (
                json!({"source": {"huggingFace": null}}),
                "set exactly one source, for example source.huggingFace: {repo: org/name}",
            ),
            (
                json!({"source": {"huggingFace": {"repo": "https://huggingface.co/org/name"}}}),
                "spec.source.huggingFace.repo",
            ),
            (
                json!({"source": {"huggingFace": {"repo": "org/na--me"}}}),
                "must be name or org/name as the hub shows it",
            ),
            (
                json!({"source": {"huggingFace": {"endpoint": "ftp://hub"}}}),
                "spec.source.huggingFace.endpoint",
            ),
            (
                json!({"source": {"huggingFace": {"revision": "../main"}}}),
                "spec.source.huggingFace.revision",
            ),
            (
                json!({"source": {"huggingFace": null, "persistentVolumeClaim": {"claimName": "a", "path": "../b"}}}),
                "spec.source.persistentVolumeClaim.path",
            ),
            (
                json!({"storage": {"size": "1Gi", "existingClaim": {"claimName": "a"}}}),
                "storage.existingClaim is used as it is: leave out size",
            ),
            (
                json!({"storage": {"layout": "Ollama"}}),
                "storage.layout must be Ollama, or left out, for source.ollama",
            ),
            (
                json!({"source": {"huggingFace": null, "s3": {"bucket": "models"}}, "storage": {"layout": "HuggingFaceCache"}}),
                "storage.layout HuggingFaceCache is for source.huggingFace",
            ),
            (
                json!({"storage": {"size": "0"}}),
                "storage.size must be a positive quantity below 1Ei, for example 40Gi",
            ),
            (
                json!({"requirements": {"memory": "-1Gi"}}),
                "requirements.memory must be a positive quantity",
            ),
            (
                json!({"requirements": {"gpu": {"count": 0}}}),
                "spec.requirements.gpu.count",
            ),
            (json!({"fetch": {"connections": 0}}), "spec.fetch.connections"),
            (json!({"fetch": {"connections": 65}}), "spec.fetch.connections"),
            (json!({"fetch": {"parallelFiles": 33}}), "spec.fetch.parallelFiles"),
            (json!({"mirrors": [{"url": "ftp://mirror"}]}), "spec.mirrors[0].url"),
            (
                json!({"fetch": {"maxBytesPerSecond": "100"}}),
                "fetch.maxBytesPerSecond must be a quantity from 1Ki",
            ),
            (
                json!({"fetch": {"stallTimeoutSeconds": 0}}),
                "spec.fetch.stallTimeoutSeconds",
            ),
        ] {
            let message = world.refusal("wrong", world.spec(changes)).await?;
            ensure!(message.contains(sentence), "{message:?} does not say {sentence:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_an_immutable_field_is_refused_with_advice() {
    scenario(async |world| {
        world.apply("fixed", world.spec(json!({}))).await?;
        for (changes, sentence) in [
            (
                json!({"source": {"huggingFace": {"repo": "org/other"}}}),
                "repo is immutable: create another ModelCache",
            ),
            (
                json!({"storage": {"storageClassName": "other"}}),
                "storageClassName is immutable",
            ),
            (
                json!({"storage": {"accessModes": ["ReadWriteMany"]}}),
                "accessModes is immutable",
            ),
            (
                json!({"storage": {"reclaimPolicy": null, "existingClaim": {"claimName": "a"}}}),
                "existingClaim is immutable",
            ),
        ] {
            let message = world.refusal("fixed", world.spec(changes)).await?;
            ensure!(message.contains(sentence), "{message:?} does not say {sentence:?}");
        }
        let revision = json!({"source": {"huggingFace": {"repo": SMALL, "revision": "v2"}}});
        world.apply("fixed", world.spec(revision)).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_admitted_spec_that_cannot_be_carried_out_is_reported_until_it_is_corrected() {
    scenario(async |world| {
        world.serve_small().await;
        let memory = |memory: &str| json!({"fetch": {"resources": {"limits": {"memory": memory}}}});
        world.apply("plenty", world.spec(memory("plenty"))).await?;
        let fault = ExpectedFault {
            condition: ConditionType::Fetched,
            reason: Reason::InvalidSpec,
            message: &["refuses to create the fetch Job", "quantities must match"],
        };
        world.until_reported("plenty", &fault).await?;
        world.apply("plenty", world.spec(memory("200Mi"))).await?;
        world.until_ready("plenty", SOON).await?;
        Ok(())
    })
    .await;
}
