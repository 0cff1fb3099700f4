//! The requirements of consumers on nodes, checked before the fetch, on two nodes with different memory.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use modelcache_crds::conditions::{ConditionType, Reason};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::fault::ExpectedFault;
use crate::pods::BUSYBOX;
use crate::waiting::{LATER, SOON, until};
use crate::world::{World, scenario};

const CAPACITY: ConditionType = ConditionType::CapacityAvailable;

#[tokio::test]
async fn memory_and_gpus_on_different_nodes_do_not_suffice() {
    scenario(async |world| {
        world.serve_small().await;
        // node1 has the memory and no GPU, node2 has GPUs and 6Gi.
        let both = json!({"requirements": {"memory": "7Gi", "gpu": {"count": 1}}});
        world.apply("both", world.spec(both)).await?;
        let fault = ExpectedFault {
            condition: CAPACITY,
            reason: Reason::InsufficientResources,
            message: &[
                "0 of 2 nodes fit",
                "node1 has 0 of 1 nvidia.com/gpu",
                "node2 has ",
                "of 7Gi memory free",
            ],
        };
        let cache = world.until_reported("both", &fault).await?;
        let capacity = cache.status.and_then(|status| status.capacity).context("no capacity")?;
        assert_eq!((capacity.nodes_considered, capacity.nodes_fit), (2, 0));
        assert_eq!(
            world.hub.stats().bytes_sent,
            0,
            "bytes were fetched for a model that no node can use"
        );
        ensure!(world.jobs("both", "fetch").await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn too_little_memory_is_reported_and_checked_again_when_a_pod_frees_some() {
    scenario(async |world| {
        world.serve_small().await;
        hold_memory(world, "4Gi").await?;
        let tight = json!({
            "placement": {"nodeSelector": {"kubernetes.io/hostname": "node2"}},
            "requirements": {"memory": "3Gi"},
        });
        world.apply("tight", world.spec(tight)).await?;
        let fault = ExpectedFault {
            condition: CAPACITY,
            reason: Reason::InsufficientMemory,
            // The exact amount depends on the pods of other tests.
            message: &["0 of 1 node fit: node2 has ", "Gi of 3Gi memory free"],
        };
        let cache = world.until_reported("tight", &fault).await?;
        let capacity = cache.status.and_then(|status| status.capacity).context("no capacity")?;
        assert_eq!(capacity.shortfalls[0].resource, "memory");
        assert_eq!(capacity.shortfalls[0].node.as_deref(), Some("node2"));
        world.delete_pod("holder").await?;
        world.until_ready("tight", SOON).await?;
        Ok(())
    })
    .await;
}

/// Runs a pod on node2 that requests memory and does not use it.
async fn hold_memory(world: &World, memory: &str) -> anyhow::Result<()> {
    world
        .apply_object(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "holder"},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": "node2"},
                "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "holder",
                    "image": BUSYBOX,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "600"],
                    "resources": {"requests": {"memory": memory}},
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }))
        .await?;
    until("the pod that holds memory", SOON, async || {
        let pod = world.api::<Pod>().get("holder").await?;
        Ok(pod
            .status
            .and_then(|status| status.phase)
            .filter(|phase| phase == "Running"))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn missing_gpus_are_reported_and_checked_again_when_a_node_gets_some() {
    scenario(async |world| {
        world.serve_small().await;
        let resource = format!("{}.test/gpu", world.namespace);
        let two = json!({"requirements": {"gpu": {"count": 2, "resourceName": resource}}});
        world.apply("gpus", world.spec(two)).await?;
        let fault = ExpectedFault {
            condition: CAPACITY,
            reason: Reason::InsufficientGpu,
            message: &["0 of 2 nodes fit", &format!("node1 has 0 of 2 {resource}")],
        };
        world.until_reported("gpus", &fault).await?;
        set_node_resource(world, "node1", &resource, Some("2")).await?;
        let outcome = world.until_ready("gpus", LATER).await;
        set_node_resource(world, "node1", &resource, None).await?;
        let capacity = outcome?
            .status
            .and_then(|status| status.capacity)
            .context("no capacity")?;
        assert_eq!((capacity.nodes_considered, capacity.nodes_fit), (2, 1));
        Ok(())
    })
    .await;
}

/// Adds a resource without hardware to a node. The kubelet keeps resources that it does not manage.
async fn set_node_resource(world: &World, node: &str, resource: &str, count: Option<&str>) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let patch = json!({"status": {"capacity": {resource: count}, "allocatable": {resource: count}}});
    nodes
        .patch_status(node, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}

#[tokio::test]
async fn placement_that_no_node_matches_is_reported_before_the_fetch() {
    scenario(async |world| {
        world.serve_small().await;
        // The plan Job needs a node too, so it runs before placement changes.
        world
            .apply("placed", world.spec(json!({"requirements": {"memory": "1Ti"}})))
            .await?;
        let fault = ExpectedFault {
            condition: CAPACITY,
            reason: Reason::InsufficientMemory,
            message: &["0 of 2 nodes fit", "of 1Ti memory free"],
        };
        world.until_reported("placed", &fault).await?;
        let nowhere = json!({
            "requirements": {"memory": "1Gi"},
            "placement": {"nodeSelector": {"modelcache.dev/e2e": "nowhere"}},
        });
        world.apply("placed", world.spec(nowhere)).await?;
        let fault = ExpectedFault {
            condition: CAPACITY,
            reason: Reason::NoNodesMatch,
            message: &["no node is considered", "2 lack label modelcache.dev/e2e=nowhere"],
        };
        world.until_reported("placed", &fault).await?;
        assert_eq!(world.hub.stats().bytes_sent, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn placement_reaches_the_fetcher() {
    scenario(async |world| {
        world.serve_small().await;
        world.hub.throttle(Some(1 << 20));
        let placed = json!({
            "placement": {
                "nodeSelector": {"kubernetes.io/hostname": "node2"},
                "tolerations": [{"key": "e2e.modelcache.dev/gpu", "operator": "Exists"}],
            },
        });
        world.apply("placed", world.spec(placed)).await?;
        for step in ["plan", "fetch"] {
            let pod = until(&format!("a {step} pod on a node"), SOON, async || {
                let labels = format!("modelcache.dev/cache=placed,modelcache.dev/step={step}");
                let pods = world.api::<Pod>().list(&ListParams::default().labels(&labels)).await?;
                let on_node = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
                Ok(pods.items.into_iter().find(on_node))
            })
            .await?;
            let spec = pod.spec.context("no spec")?;
            assert_eq!(spec.node_name.as_deref(), Some("node2"), "{step}");
            let tolerations = spec.tolerations.unwrap_or_default();
            let tolerates = |key: &str| tolerations.iter().any(|found| found.key.as_deref() == Some(key));
            ensure!(tolerates("e2e.modelcache.dev/gpu"), "{step}: {tolerations:?}");
        }
        world.hub.throttle(None);
        world.until_ready("placed", SOON).await?;
        Ok(())
    })
    .await;
}
