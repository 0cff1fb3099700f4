//! Access to the installed operator.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::pods::kubectl;
use crate::waiting::until;
use crate::world::World;

pub(crate) const NAMESPACE: &str = "modelcache-system";
const DEPLOYMENT: &str = "deployment/modelcache";
const SELECTOR: &str = "app.kubernetes.io/name=modelcache,app.kubernetes.io/component=operator";

impl World {
    fn operator_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Kills every operator pod without grace period, and waits until another is ready.
    pub(crate) async fn kill_operator(&self) -> anyhow::Result<()> {
        let pods = self.operator_pods();
        let selected = ListParams::default().labels(SELECTOR);
        let doomed: Vec<String> = pods
            .list(&selected)
            .await?
            .iter()
            .filter_map(ResourceExt::uid)
            .collect();
        pods.delete_collection(&DeleteParams::default().grace_period(0), &selected)
            .await?;
        until("another operator", Duration::from_secs(90), async || {
            let list = pods.list(&selected).await?;
            let ready = list.iter().any(|pod| {
                let is_new = pod.uid().is_some_and(|uid| !doomed.contains(&uid));
                is_new && is_ready(pod)
            });
            Ok(ready.then_some(()))
        })
        .await
    }

    /// Sets the operator's fetcher image, and returns the previous one.
    pub(crate) async fn set_fetcher_image(&self, image: &str) -> anyhow::Result<String> {
        const OPTION: &str = "--fetcher-image=";
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = DEPLOYMENT.trim_start_matches("deployment/");
        let deployment = deployments.get(name).await?;
        let containers = &deployment
            .spec
            .and_then(|spec| spec.template.spec)
            .context("no pod")?
            .containers;
        let arguments = containers
            .first()
            .and_then(|container| container.args.clone())
            .context("no arguments")?;
        let at = arguments
            .iter()
            .position(|argument| argument.starts_with(OPTION))
            .context("no image")?;
        let before = arguments[at][OPTION.len()..].to_owned();
        let patch = json!([{
            "op": "replace",
            "path": format!("/spec/template/spec/containers/0/args/{at}"),
            "value": format!("{OPTION}{image}"),
        }]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
        deployments.patch(name, &PatchParams::default(), &patch).await?;
        kubectl(&["-n", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout=90s"]).await?;
        Ok(before)
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|found| found.type_ == "Ready" && found.status == "True")
    })
}
